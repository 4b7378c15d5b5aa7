/**
 * Suppression of cdk-nag rules, each on the resource that violates the rule and with a reason (in ASCII; cdk-nag
 * encodes other characters).
 *
 * The rules (AwsSolutions) run over every stack of `twinway-app.ts`; a finding without a reason fails the synthesis.
 */
import { NagSuppressions } from 'cdk-nag';
import type { IConstruct } from 'constructs';

/** One finding of a rule with several: its exact text, or a pattern for it. */
export type Finding = string | { readonly regex: string };

/** Suppresses rule `id` for `construct` only; `findings` selects findings of a rule with several (IAM4, IAM5). */
export function suppressRule(construct: IConstruct, id: string, reason: string, findings?: readonly Finding[]): void {
  NagSuppressions.addResourceSuppressions(construct, [rule(id, reason, findings)]);
}

/** Suppresses rule `id` for `construct` and its children, for library constructs that create resources. */
export function suppressRuleWithin(
  construct: IConstruct,
  id: string,
  reason: string,
  findings?: readonly Finding[],
): void {
  NagSuppressions.addResourceSuppressions(construct, [rule(id, reason, findings)], true);
}

function rule(id: string, reason: string, findings: readonly Finding[] | undefined) {
  return { id: `AwsSolutions-${id}`, reason, ...(findings === undefined ? {} : { appliesTo: [...findings] }) };
}
