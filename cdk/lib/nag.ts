/**
 * cdk-nag with reasons: a rule is set aside only beside the resource that breaks it, in a sentence that
 * says why (in ASCII; cdk-nag encodes the rest).
 *
 * The checks themselves (AwsSolutions) run over every stack in `bin/app.ts`; a finding without a reason fails the synthesis.
 */
import { NagSuppressions } from 'cdk-nag';
import type { IConstruct } from 'constructs';

/** One finding of a rule that has several: its exact text, or a pattern of it. */
export type Finding = string | { readonly regex: string };

/** Sets rule `id` aside for `construct` alone; `findings` narrows a rule with several findings (IAM4, IAM5). */
export function setAside(construct: IConstruct, id: string, reason: string, findings?: readonly Finding[]): void {
  NagSuppressions.addResourceSuppressions(construct, [rule(id, reason, findings)]);
}

/** The same for `construct` and all that is in it: for constructs of the library that hold resources of their own. */
export function setAsideWithin(construct: IConstruct, id: string, reason: string, findings?: readonly Finding[]): void {
  NagSuppressions.addResourceSuppressions(construct, [rule(id, reason, findings)], true);
}

function rule(id: string, reason: string, findings: readonly Finding[] | undefined) {
  return { id: `AwsSolutions-${id}`, reason, ...(findings === undefined ? {} : { appliesTo: [...findings] }) };
}
