// `dinov2-webgpu/node`, as published, in processes of its own: two that download one model, one that is killed,
// and the loss of a device.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { configFile, weightsFile } from '../loading/server.ts';
import { images, publish, type Published } from '../tools/published.ts';

const PART_BYTES = 100_000;
let line: Published;
let hub: Server;
/** Bytes of the weights that the hub has sent, and a function that is called after each part. */
let sent = 0;
let onSent: () => void = () => undefined;

beforeAll(async () => {
  line = await publish(['webgpu']);
  hub = createServer(({ url = '', headers }, response) => {
    const name = url.split('/').at(-1);
    if (name === 'config.json') return void response.end(configFile);
    if (name !== 'model.safetensors') return void response.writeHead(404).end();
    const [, begin = '0', last = ''] = /^bytes=(\d+)-(\d*)/.exec(headers.range ?? '') ?? [];
    const from = Number(begin);
    const to = last === '' ? weightsFile.length : Number(last) + 1;
    response.writeHead(headers.range ? 206 : 200, {
      etag: '"one"',
      'content-length': to - from,
      ...(headers.range && {
        'content-range': `bytes ${from}-${to - 1}/${weightsFile.length}`,
      }),
    });
    void (async () => {
      for (let at = from; at < to && !response.destroyed;) {
        const part = weightsFile.subarray(at, Math.min(to, at + PART_BYTES));
        response.write(part);
        sent += part.length;
        at += part.length;
        onSent();
        await sleep(50);
      }
      response.end();
    })();
  });
  hub.listen(0, '127.0.0.1');
  await once(hub, 'listening');
  writeFileSync(
    join(line.folder, 'load.mjs'),
    `import { DINOv2 } from './dist/node.js';
     const model = await DINOv2.fromPretrained('owner/tiny', { selfTest: false });
     const { fetchedBytes, cachedBytes, cache } = model.loaded;
     console.log(JSON.stringify({ fetchedBytes, cachedBytes, cache }));
     model.dispose();`,
  );
});
afterAll(() => {
  hub.closeAllConnections();
  hub.close();
  line.remove();
});
beforeEach(() => {
  sent = 0;
  onSent = () => undefined;
  rmSync(join(line.folder, 'cache'), { recursive: true, force: true });
});

function start(
  script: string,
): ChildProcess & { readonly ended: Promise<{ code: number | null; text: string }> } {
  const { env } = process;
  const child = spawn(process.execPath, [script], {
    cwd: line.folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...env,
      LD_LIBRARY_PATH: [env['SWIFTSHADER_DIR'], env['LD_LIBRARY_PATH']].filter(Boolean).join(':'),
      HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
      HF_HOME: join(line.folder, 'python'),
      XDG_CACHE_HOME: join(line.folder, 'cache'),
    },
  });
  let text = '';
  child.stdout!.on('data', (each) => (text += String(each)));
  child.stderr!.on('data', (each) => (text += String(each)));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, text }));
  return Object.assign(child, { ended });
}

const whole = weightsFile.length;
/** All files below the cache's folder. */
const cached = (): string[] =>
  readdirSync(join(line.folder, 'cache/dinov2-webgpu'), { recursive: true, encoding: 'utf8' });

test('a process ends once its model is disposed', async () => {
  writeFileSync(
    join(line.folder, 'end.mjs'),
    `import { DINOv2 } from './dist/node.js';
     const model = await DINOv2.fromPretrained('owner/tiny', { selfTest: false });
     model.dispose();
     const disposedMs = performance.now();
     process.on('exit', () => console.log(Math.round(performance.now() - disposedMs)));`,
  );
  const { code, text } = await start('end.mjs').ended;
  expect(code).toBe(0);
  const elapsedMs = Number(text.trim().split('\n').at(-1)); // some drivers print warnings before it
  expect(elapsedMs).toBeLessThan(2500); // a timer of 5 s would show; the driver may need some time to end
});

test('two processes that load one model at the same time download it once', async () => {
  const both = await Promise.all([start('load.mjs').ended, start('load.mjs').ended]);
  const reports = both.map(
    ({ text }) => JSON.parse(text.trim().split('\n').at(-1)!) as { fetchedBytes: number },
  );
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(reports.map(({ fetchedBytes }) => fetchedBytes).sort((a, b) => a - b)).toEqual([0, whole]);
  expect(sent).toBe(whole);
});

test('a process that is killed during a download leaves nothing that stops the next one', async () => {
  const killed = start('load.mjs');
  await new Promise<void>((resolve) => (onSent = resolve));
  const waiting = start('load.mjs');
  onSent = () => {
    if (sent < whole / 2) return;
    killed.kill('SIGKILL');
    onSent = () => undefined;
  };
  const [, { code, text }] = await Promise.all([killed.ended, waiting.ended]);
  expect([code, text]).toEqual([0, expect.stringContaining('"cache":"folder"')]);
  const third = await start('load.mjs').ended;
  expect(JSON.parse(third.text.trim().split('\n').at(-1)!)).toMatchObject({
    fetchedBytes: 0,
    cachedBytes: whole,
  });
  expect(cached().filter((name) => /\.part$|removal$/.test(name))).toEqual([]);
});

test("a model recovers from the loss of its device, also if its files came from Python's cache", async () => {
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const repository = join(line.folder, 'python/hub/models--owner--python');
  for (const path of ['refs', `snapshots/${commit}`, `.no_exist/${commit}`])
    mkdirSync(join(repository, path), { recursive: true });
  writeFileSync(join(repository, 'refs/main'), commit);
  writeFileSync(join(repository, `snapshots/${commit}/config.json`), configFile);
  writeFileSync(join(repository, `snapshots/${commit}/model.safetensors`), weightsFile);
  writeFileSync(join(repository, `.no_exist/${commit}/preprocessor_config.json`), '');
  writeFileSync(
    join(line.folder, 'lose.mjs'),
    `import { DINOv2 } from './dist/node.js';
     const losses = [];
     for (const id of ['owner/tiny', 'owner/python']) {
       const model = await DINOv2.fromPretrained(id, { selfTest: false });
       const image = ${JSON.stringify(join(images, 'rgb.png'))};
       const before = await model.embed(image);
       model.device.destroy();
       const after = await model.embed(image);
       losses.push([before.join() === after.join(), (await model.health()).losses.length]);
       model.dispose();
     }
     console.log(JSON.stringify(losses), 'navigator' in globalThis && 'gpu' in navigator);`,
  );
  const { code, text } = await start('lose.mjs').ended;
  expect([code, text]).toEqual([0, expect.stringMatching(/^\[\[true,1\],\[true,1\]\] false$/m)]);
  expect(sent).toBe(whole); // of owner/tiny, once: it recovers from the cache
});
