// Settings of the process.

export const concurrency = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY ?? 1);
/** Whether handlers may use callbacks. */
export const usesCallbacks = Number(process.versions.node.split(".")[0]) < 24 && concurrency === 1;
