/**
 * Registry of the container images of the pods: immutable tags, scanned images, and deletion of old images.
 *
 * A release pushes the images that `docker/` builds; this stack does not.
 */
import { RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Repository, TagMutability } from 'aws-cdk-lib/aws-ecr';
import { Construct } from 'constructs';
import type { Environment } from '../environments';

/** Names of the images that `make images` builds. */
const IMAGES = ['twinway', 'twinway-frontend', 'twinway-migrate'] as const;

/** Maximum number of images per repository, for rollbacks. */
const MAX_IMAGES = 50;

/** The image repositories. Their names are fixed, because `make images REGISTRY=…` appends the name of the image. */
export class Images extends Construct {
  /** Host and path before the name of an image. */
  readonly registry: string;

  constructor(scope: Construct, id: string, environment: Environment) {
    super(scope, id);
    const retained = environment.data === 'retained';
    const path = `twinway-${environment.name}`;
    for (const name of IMAGES) {
      new Repository(this, name, {
        repositoryName: `${path}/${name}`,
        imageScanOnPush: true,
        imageTagMutability: TagMutability.IMMUTABLE,
        lifecycleRules: [{ maxImageCount: MAX_IMAGES }],
        removalPolicy: retained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
        emptyOnDelete: !retained,
      });
    }
    const { account, region, urlSuffix } = Stack.of(this);
    this.registry = `${account}.dkr.ecr.${region}.${urlSuffix}/${path}`;
  }
}
