// Locks and folders of Node: between tasks, between processes, and after a process that was killed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheFolder, folderStore, writeWhole } from '../../src/node/cacheFolder.ts';
import { withFileLock } from '../../src/node/fileLock.ts';
import { hubCacheFolder } from '../../src/node/hubCache.ts';

let folder: string;
/** As the lock writes it: the machine, and on Linux the container. */
const place = `${hostname()} ${process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : ''}`;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'lock-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('tasks of one process run one after the other, and an error releases the lock', async () => {
  const path = join(folder, 'lock');
  let running = 0;
  const task = async (): Promise<void> => {
    running += 1;
    expect(running).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running -= 1;
  };
  await Promise.all([1, 2, 3].map(() => withFileLock(path, undefined, task)));
  const failing = withFileLock(path, undefined, () => Promise.reject(new Error('no')));
  await expect(failing).rejects.toThrow('no');
  await withFileLock(path, undefined, task);
  expect(existsSync(path)).toBe(false);
});

test('a lock of a living process is waited for, until an abort; of an ended process, removed', async () => {
  const path = join(folder, 'lock');
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
  await once(child, 'spawn');
  const holder = `${child.pid}  ${place}\n`; // without a start time, as on macOS
  writeFileSync(path, holder);
  await expect(withFileLock(path, AbortSignal.timeout(150), async () => 'held')).rejects.toMatchObject({
    name: 'TimeoutError',
  });
  expect(readFileSync(path, 'utf8')).toBe(holder);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await withFileLock(path, undefined, async () => 'held')).toBe('held');
});

test.runIf(process.platform === 'linux')(
  'a lock of an ended process whose number another one has is removed',
  async () => {
    const path = join(folder, 'restarted');
    for (const pid of [process.pid, process.ppid]) {
      writeFileSync(path, `${pid} 1 ${place}\n`);
      expect(await withFileLock(path, undefined, async () => 1)).toBe(1);
    }
  },
);

test('an abort ends the wait for another task of this process, and later tasks wait on', async () => {
  const path = join(folder, 'queue');
  let finish = (): void => undefined;
  let begun = (): void => undefined;
  const running = new Promise<void>((resolve) => (begun = resolve));
  const first = withFileLock(path, undefined, () => {
    begun();
    return new Promise<void>((resolve) => (finish = resolve));
  });
  await running;
  const second = withFileLock(path, AbortSignal.timeout(20), async () => 'second');
  const order: string[] = [];
  const third = withFileLock(path, undefined, async () => void order.push('third'));
  await expect(second).rejects.toMatchObject({ name: 'TimeoutError' });
  await new Promise((resolve) => setTimeout(resolve, 50));
  order.push('first ends');
  finish();
  await Promise.all([first, third]);
  expect(order).toEqual(['first ends', 'third']);
});

test('a lock of another machine is removed once it is not renewed', async () => {
  const path = join(folder, 'far');
  writeFileSync(path, '1 2 elsewhere\n');
  await expect(withFileLock(path, AbortSignal.timeout(100), async () => 1)).rejects.toThrow();
  const old = new Date(Date.now() - 300_000);
  utimesSync(path, old, old);
  expect(await withFileLock(path, undefined, async () => 1)).toBe(1);
});

test('a file exists whole or not at all', async () => {
  const store = folderStore(join(folder, 'store'));
  expect(await store.keys()).toEqual([]);
  expect(await store.existing('key')).toBeUndefined();
  expect(existsSync(join(folder, 'store'))).toBe(false);
  const made = await store.folder('key');
  await made.write('name', new Blob(['bytes']));
  expect(await (await made.read('name'))!.text()).toBe('bytes');
  expect([await made.names(), await store.keys()]).toEqual([['name'], ['key']]);
  expect(await made.read('none')).toBeUndefined();
  await expect(writeWhole(join(folder, 'none/name'), 'text')).rejects.toThrow(/ENOENT/);
  await store.remove('key');
  expect(await store.existing('key')).toBeUndefined();
  expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
});

test.each<[Record<string, string>, string, string]>([
  [{}, 'linux', '/home/me/.cache/dinov2-webgpu'],
  [{ XDG_CACHE_HOME: '/x' }, 'darwin', '/x/dinov2-webgpu'],
  [{ XDG_CACHE_HOME: 'x' }, 'linux', '/home/me/.cache/dinov2-webgpu'],
  [{}, 'darwin', '/home/me/Library/Caches/dinov2-webgpu'],
  [{ LOCALAPPDATA: '/local' }, 'win32', '/local/dinov2-webgpu'],
])('with %j on %s, downloads are kept in %s', (environment, platform, path) => {
  expect(cacheFolder(environment, platform, '/home/me')).toBe(path);
});

test.each<[Record<string, string>, string]>([
  [{}, '/home/me/.cache/huggingface/hub'],
  [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
  [{ HF_HOME: '~/hf' }, '/home/me/hf/hub'],
  [{ HF_HOME: '/hf', HF_HUB_CACHE: '/c' }, '/c'],
])("with %j, Python's cache is in %s", (environment, path) => {
  expect(hubCacheFolder(environment, '/home/me')).toBe(path);
});
