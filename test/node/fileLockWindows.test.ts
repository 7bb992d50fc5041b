// Windows answers EPERM while another process removes the lock file, and also if a process may not write.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { withFileLock } from '../../src/node/fileLock.ts';

/** How many more calls are refused. */
let refusals = 0;
let calls = 0;
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const open: typeof real.open = async (path, flags, mode) => {
    if (flags !== 'wx') return real.open(path, flags, mode);
    calls += 1;
    if (refusals-- > 0) throw Object.assign(new Error('EPERM'), { code: 'EPERM', syscall: 'open' });
    return real.open(path, flags, mode);
  };
  return { ...real, open };
});
vi.mock('../../src/platform/pause.ts', () => ({ wait: () => Promise.resolve() }));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lock-'));
  vi.spyOn(process, 'platform', 'get').mockReturnValue('win32');
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(() => void (calls = 0));

test('a few refusals are waited for', async () => {
  refusals = 60;
  expect(await withFileLock(join(folder, 'lock'), undefined, async () => 'held')).toBe('held');
  expect(calls).toBe(61);
});

test('after a hundred refusals in a row, the error is thrown', async () => {
  refusals = Infinity;
  await expect(withFileLock(join(folder, 'lock'), undefined, async () => 'held')).rejects.toThrow('EPERM');
  expect(calls).toBe(101);
});
