/**
 * The templates that `check.sh` synthesized.
 *
 * All tests use the same synthesis, because it takes seconds with the Kubernetes stack.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';

/** Directory of the syntheses: one subdirectory per environment, and `probe` for the probe in `dev`. */
export const OUTPUT = resolve(__dirname, '../../cdk.out');

/** Zone of the environment `prod` in `check.sh`. */
export const ZONE = 'example.com';

/** CloudFormation template. */
export interface TemplateJson {
  readonly Resources: Readonly<Record<string, ResourceJson>>;
  readonly Outputs?: Readonly<Record<string, unknown>>;
}

/** Resource of a template. */
export interface ResourceJson {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly DeletionPolicy?: string;
  readonly Metadata?: { readonly cdk_nag?: { readonly rules_to_suppress?: readonly Suppression[] } };
}

/** Suppressed rule in the metadata that cdk-nag writes. */
export interface Suppression {
  readonly id: string;
  readonly reason: string;
}

/** Returns the template of one stack (`App`, `Platform`, …) of one environment. */
export function template(environment: string, stack: string): Template {
  return Template.fromJSON(json(environment, stack) as unknown as Record<string, unknown>);
}

/** Returns the same template as JSON. */
export function json(environment: string, stack: string): TemplateJson {
  const directory = stack === 'Probe' ? 'probe' : environment;
  const file = join(OUTPUT, directory, `Twinway-${environment}-${stack}.template.json`);
  if (!existsSync(file)) {
    throw new Error(`${file} is missing: run 'make cdk', which synthesizes before it tests`);
  }
  return JSON.parse(readFileSync(file, 'utf8')) as TemplateJson;
}

/** Returns all templates of all environments with their names. */
export function all(): readonly (readonly [string, TemplateJson])[] {
  return readdirSync(OUTPUT).flatMap((directory) =>
    readdirSync(join(OUTPUT, directory)).flatMap((file) => {
      const [, environment, stack] = /^Twinway-([a-z]+)-(\w+)\.template\.json$/.exec(file) ?? [];
      return environment === undefined || stack === undefined
        ? []
        : [[`Twinway-${environment}-${stack}`, json(environment, stack)] as const];
    }),
  );
}

/** Returns the resources of one type. */
export function resources(of: TemplateJson, type: string): readonly ResourceJson[] {
  return Object.values(of.Resources).filter((resource) => resource.Type === type);
}
