/** True in the full tier, which takes minutes: `npm run test:full`. `.ci/run` runs it step by step. */
export const full = process.env['TEST_FULL'] === '1';
/**
 * True in the long tier, which is too slow for `.ci/run`: `npm run test:long`. The long tier includes the
 * full one.
 */
export const long = process.env['TEST_LONG'] === '1';
