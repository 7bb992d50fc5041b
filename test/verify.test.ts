// End-to-end test of `npm run verify`: the script runs on Dawn against a local server that serves a tiny
// checkpoint under the Hub's paths.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { full } from './full.ts';

const pathOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const image = ['--image', pathOf('../demo/photos/chelsea.png')];
const expectedFile = pathOf('./fixtures/verify/expected.json');
const python = JSON.parse(readFileSync(expectedFile, 'utf8')) as { last_hidden_state: number[][] };
const id = 'someone/dinov2-tiny';

let server: Server;
let hub: readonly string[];
let folder: string;
const asked: string[] = [];

/** Each run compiles every kernel of the model, which takes 13 s on a software adapter. */
const TIMEOUT_MS = 300_000;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'verify-'));
  server = createServer(({ url = '' }, response) => {
    asked.push(url);
    const file = /^\/someone\/dinov2-tiny\/resolve\/main\/(config\.json|model\.safetensors)$/.exec(url)?.[1];
    if (!file) return response.writeHead(404).end();
    response.end(readFileSync(pathOf(`./fixtures/reference/tiny-plain/${file}`)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  hub = ['--base-url', `http://127.0.0.1:${(server.address() as AddressInfo).port}`];
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** Runs scripts/verify.mjs. Asynchronous, because the script downloads from a server in this process. */
function verify(
  ...args: readonly string[]
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [pathOf('../scripts/verify.mjs'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text) => (stdout += String(text)));
    child.stderr.on('data', (text) => (stderr += String(text)));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

function written(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

test(
  'numbers computed with transformers: exit 0, a table, and a Markdown page',
  async () => {
    const page = join(folder, 'verified.md');
    const { status, stdout, stderr } = await verify(
      ...hub,
      ...image,
      '--expected',
      expectedFile,
      '--markdown',
      page,
      id,
    );
    expect(stderr).not.toMatch(/could not|failed/);
    const files = ['config.json', 'model.safetensors', 'preprocessor_config.json'];
    expect(asked.toSorted()).toEqual(files.map((file) => `/${id}/resolve/main/${file}`));
    expect(stdout).toMatch(/someone\/dinov2-tiny, on .+\n {2}against transformers 5\./);
    expect(
      stdout.match(/^ {2}last_hidden_state\[0, \d, \d\] +-?\d\.\d{4} +-?\d\.\d{4} +\S+ of \S+ +holds$/gm),
    ).toHaveLength(16);
    expect(stdout).toMatch(/\nholds +someone\/dinov2-tiny\n$/);
    expect(readFileSync(page, 'utf8')).toMatch(
      /^\| someone\/dinov2-tiny \| transformers 5\..* \| 16 \| holds \|$/m,
    );
    expect(status).toBe(0);
  },
  TIMEOUT_MS,
);

// Only in the full tier: each of these two tests starts Vite and Dawn.
if (full) {
  test(
    'one number that is wrong by 3e-4: exit 1, and the table names it',
    async () => {
      const tokens = python.last_hidden_state.map((token) => [...token]);
      tokens[2]![1]! += 3e-4;
      const { status, stdout } = await verify(
        ...hub,
        ...image,
        '--expected',
        written('wrong.json', { last_hidden_state: tokens }),
        id,
      );
      expect(stdout.match(/DIFFERS$/gm)).toHaveLength(1);
      expect(stdout).toMatch(/last_hidden_state\[0, 2, 1\] .* 3\.0e-4 of 1\.\de-4 +DIFFERS\n/);
      expect(stdout).toMatch(/\nDIFFERS +someone\/dinov2-tiny\n$/);
      expect(status).toBe(1);
    },
    TIMEOUT_MS,
  );

  test(
    'a checkpoint that cannot be fetched: exit 3, and a message',
    async () => {
      const { status, stdout, stderr } = await verify(
        ...hub,
        ...image,
        '--expected',
        expectedFile,
        'someone/else',
      );
      expect(stderr).toMatch(/someone\/else: could not be compared: its files could not be loaded: .*404/);
      expect(stdout).toMatch(/could not run +someone\/else/);
      expect(status).toBe(3);
    },
    TIMEOUT_MS,
  );
}

const refusals: [string, () => string[], RegExp][] = [
  [
    'a missing image',
    () => ['--image', '/nowhere/cats.png', 'facebook/dinov2-base'],
    /the image \/nowhere\/cats\.png cannot be read: ENOENT.*Nothing was compared/,
  ],
  [
    'a JPEG',
    () => ['--image', pathOf('../demo/photos/rocket.jpg'), 'facebook/dinov2-base'],
    /the file is not a PNG/,
  ],
  [
    'a missing file of expected numbers',
    () => ['--expected', '/nowhere/numbers.json', id],
    /the numbers in \/nowhere\/numbers\.json cannot be read: ENOENT/,
  ],
  ['no JSON', () => ['--expected', written('no.json', '{'), id], /cannot be read/],
  [
    'nothing to compare',
    () => ['--expected', written('empty.json', {}), id],
    /expected last_hidden_state or label, found neither/,
  ],
  [
    'numbers in another form',
    () => ['--expected', written('flat.json', { last_hidden_state: [1, 2] }), id],
    /expected a list of tokens/,
  ],
  [
    'a field that is misspelt',
    () => ['--expected', written('field.json', { label: 'x', atoll: 1 }), id],
    /unknown field atoll/,
  ],
  [
    'a negative bound',
    () => ['--expected', written('bound.json', { label: 'x', atol: -1 }), id],
    /expected numbers from 0, found -1/,
  ],
  ['two checkpoints', () => ['--expected', expectedFile, id, id], /needs exactly one checkpoint id/],
  ['none', () => ['--expected', expectedFile], /needs exactly one checkpoint id/],
];
// Each refusal starts a process, so the short tier runs only two.
test.each(full ? refusals : refusals.slice(0, 2))('%s: exit 2, and it says so', async (_, args, message) => {
  const { status, stdout, stderr } = await verify(...args());
  expect(stderr).toMatch(/^verify could not run: /);
  expect(stderr).toMatch(message);
  expect(stdout).toMatch(/could not run +\S/);
  expect(status).toBe(2);
});

test('an unknown option, and a page that cannot be written: exit 2 before anything is loaded', async () => {
  expect(await verify('--nope')).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/^Unknown option '--nope'/) as string,
  });
  expect(await verify('--markdown', join(image[1]!, 'page.md'))).toMatchObject({
    status: 2,
    stdout: '',
    stderr: expect.stringMatching(/no file can be written into .*chelsea\.png is not a folder/) as string,
  });
});
