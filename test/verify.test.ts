import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('npm run verify says when it could not run, and does not pass', () => {
  const script = fileURLToPath(new URL('../scripts/verify.mjs', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--image', '/nowhere/cats.png', 'facebook/dinov2-base'], { encoding: 'utf8' });
  expect(status).toBe(2);
  expect(stderr).toMatch(/could not run: the image \/nowhere\/cats\.png is not to be had: ENOENT.*Nothing was compared/);
  expect(stdout).toMatch(/could not run +facebook\/dinov2-base/);
});
