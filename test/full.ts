/** What takes minutes: `npm run test:full`, which .ci/run calls step by step. */
export const full = process.env['TEST_FULL'] === '1';
/** What is too long for each landing: `npm run test:long`. It runs the full variants too. */
export const long = process.env['TEST_LONG'] === '1';
