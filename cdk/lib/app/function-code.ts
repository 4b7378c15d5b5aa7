/**
 * Where the code of the functions comes from: one archive each, made by `make lambda`.
 *
 * A missing archive is an error at synthesis, never an empty function on AWS.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { FUNCTION_NAMES, type FunctionName } from '../names';

/** The code of each function. */
export type FunctionCode = (name: FunctionName) => Code;

/** The archives `{name}-arm64.zip` of `directory`. Throws when one is missing, and names all that are. */
export function archives(directory: string): FunctionCode {
  const path = (name: FunctionName) => join(directory, `${name}-arm64.zip`);
  const missing = FUNCTION_NAMES.map(path).filter((file) => !existsSync(file));
  if (missing.length > 0) {
    throw new Error(
      `these archives are missing: ${missing.join(', ')}: run 'make lambda', or point -c lambda=DIR at them`,
    );
  }
  return (name) => Code.fromAsset(path(name));
}
