/**
 * Registry of the container images of the pods: immutable tags, scanned images, and deletion of old images.
 *
 * A release pushes the images that `docker/` builds; this stack does not.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import { Repository, TagMutability } from 'aws-cdk-lib/aws-ecr';
import { Construct } from 'constructs';
import type { Environment } from '../environments';

/** Names of the images in `docker/`. */
const IMAGES = ['shim', 'web'] as const;

/** Maximum number of images per repository, for rollbacks. */
const MAX_IMAGES = 50;

/** The image repositories. */
export class Images extends Construct {
  readonly repositories: ReadonlyMap<string, Repository>;

  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id);
    const retained = environment.data === 'retained';
    this.repositories = new Map(
      IMAGES.map((name) => [
        name,
        new Repository(this, name, {
          imageScanOnPush: true,
          imageTagMutability: TagMutability.IMMUTABLE,
          lifecycleRules: [{ maxImageCount: MAX_IMAGES }],
          removalPolicy: retained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
          emptyOnDelete: !retained,
        }),
      ]),
    );
  }
}
