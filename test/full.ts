/** The full run, `npm run test:full`: what takes a compiler's minutes is in it alone. */
export const full = process.env['TEST_FULL'] === '1';
