/**
 * The registry of the images that pods run: tags never move, images are scanned, old ones go.
 *
 * It holds what `docker/` builds; pushing is a release's work, not this stack's.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { Repository, TagMutability } from 'aws-cdk-lib/aws-ecr';
import { Construct } from 'constructs';
import type { Environment } from '../environments';

/** The images, as `docker/` names them. */
const IMAGES = ['shim', 'web'] as const;

/** Enough to roll back through many releases. */
const IMAGES_KEPT = 50;

/** The repositories. */
export class Images extends Construct {
  readonly repositories: ReadonlyMap<string, Repository>;

  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id);
    const keep = environment.data === 'retained';
    this.repositories = new Map(
      IMAGES.map((name) => [
        name,
        new Repository(this, name, {
          imageScanOnPush: true,
          imageTagMutability: TagMutability.IMMUTABLE,
          lifecycleRules: [{ maxImageCount: IMAGES_KEPT }],
          removalPolicy: keep ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
          emptyOnDelete: !keep,
        }),
      ]),
    );
  }
}
