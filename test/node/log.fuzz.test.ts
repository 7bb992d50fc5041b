/**
 * Fuzz test of an index's file on disk, with a fixed seed: bytes are changed, cut and repeated; values in the heads of
 * frames are replaced and the checksums made right again. Opening may only throw IndexError. With `repair: 'drop'` it
 * gives an index that can be searched, exported, and opened again without repair.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeText, PREFIX_BYTES } from '../../src/node/index/frames.ts';
import { nodeHost } from '../../src/node/nodeHost.ts';
import { host } from '../../src/platform/host.ts';
import { EmbeddingIndex, IndexError } from '../../src/search.ts';
import { codeOf, Corpus } from '../corpus.ts';
import { full, long } from '../full.ts';
import { mutatedJson } from '../mutatedJson.ts';
import { Random } from '../random.ts';

const RUNS = long ? 50_000 : full ? 1500 : 100;
const HEADER = { dim: 4, storage: 'int8', patches: 'f16' } as const;

let folder: string;
const log = (): string => join(folder, 'index.log');
const open = (options: { repair?: 'drop' } = {}): Promise<EmbeddingIndex> =>
  EmbeddingIndex.open({ folder }, { ...HEADER, ...options });

beforeAll(() => {
  Object.assign(host, { openFolder: nodeHost.openFolder });
  // A folder in memory, if there is one: writing to a disk would take most of the time.
  try {
    folder = mkdtempSync('/dev/shm/log-');
  } catch {
    folder = mkdtempSync(join(tmpdir(), 'log-'));
  }
});
afterAll(() => {
  delete host.openFolder;
  rmSync(folder, { recursive: true });
});

interface Frame {
  readonly head: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

async function seed(): Promise<Frame[]> {
  const index = await open();
  const random = new Random(3);
  for (const id of ['a', 'b', 'c'])
    await index.add(
      id,
      random.uniform(4),
      { name: id, list: [1, null] },
      {
        patches: { rows: 1, cols: 2, tokens: random.uniform(8) },
        thumbnail: new Blob([Uint8Array.of(1, 2, 3)], { type: 'image/webp' }),
      },
    );
  await index.setState('key', { list: [1, new Date(5), new Map([[1, 2n]])] });
  await index.remove('b');
  index.dispose();
  const bytes = new Uint8Array(readFileSync(log()));
  const view = new DataView(bytes.buffer);
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length;) {
    const bodyAt = at + PREFIX_BYTES + view.getUint32(at + 4, true);
    const end = bodyAt + view.getUint32(at + 8, true);
    frames.push({
      head: new TextDecoder().decode(bytes.subarray(at + PREFIX_BYTES, bodyAt)),
      body: bytes.slice(bodyAt, end),
    });
    at = end;
  }
  return frames;
}

const joined = (parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Buffer.concat(parts));

function mutatedFrames(frames: readonly Frame[], random: Random): Frame[] {
  const list = [...frames];
  const at = random.integer(0, list.length - 1);
  const { head, body } = list[at]!;
  const kind = random.integer(0, 9);
  if (kind === 0) list.splice(at, 1);
  else if (kind === 1) list.splice(at, 0, random.pick(list));
  else if (kind === 2) {
    const data = body.slice();
    if (data.length > 0) data.fill(random.pick([0, 1, 0x7f, 0x80, 0xff]), random.integer(0, data.length - 1));
    list[at] = { head, body: data };
  } else if (kind === 3) list[at] = { head, body: body.slice(0, random.integer(0, body.length)) };
  else list[at] = { head: mutatedJson(head, random), body };
  return list;
}

function mutatedBytes(file: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  const at = random.integer(0, file.length);
  const kind = random.integer(0, 2);
  if (kind === 0) return file.slice(0, at);
  if (kind === 1) return joined([file, file.subarray(at, random.integer(at, file.length))]);
  const bytes = file.slice();
  for (let count = random.integer(1, 4); count > 0; count--)
    bytes[random.integer(0, file.length - 1)] = random.integer(0, 255);
  return bytes;
}

/** Opens a file as an index. Returns 'opened', or the code and the message of the error. */
async function judge(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  writeFileSync(log(), bytes);
  let outcome = 'opened';
  try {
    await use(await open());
  } catch (error) {
    if (!(error instanceof IndexError)) throw error;
    outcome = `${error.code}: ${error.message}`;
  }
  if (outcome.startsWith('INDEX_DAMAGED')) {
    await use(await open({ repair: 'drop' }));
    (await open()).dispose();
  }
  return outcome;
}

/** An item whose thumbnail alone is damaged is intact: only reading the thumbnail throws. */
function allowDamage(error: unknown): void {
  expect(error).toMatchObject({ name: 'IndexError', code: 'INDEX_DAMAGED' });
}

async function use(index: EmbeddingIndex): Promise<void> {
  try {
    const hits = await index.search(Float32Array.of(1, 2, 3, 4), { topK: 10 });
    expect(hits).toHaveLength(index.size);
    for (const { id, score } of hits) {
      expect([typeof id, Number.isFinite(score)]).toEqual(['string', true]);
      await index.thumbnail(id).catch(allowDamage);
    }
    await index.getState('key');
    await index.export().catch(allowDamage);
  } finally {
    index.dispose();
  }
}

test(`${RUNS} files`, { timeout: 120_000 + 200 * RUNS }, async () => {
  const random = new Random(4);
  const frames = await seed();
  const corpus = new Corpus('index-log');
  await corpus.replay(judge);
  const codes = new Map<string, number>();
  for (let run = 0; run < RUNS; run++) {
    let list: readonly Frame[] = frames;
    for (let count = random.integer(1, 2); count > 0; count--) list = mutatedFrames(list, random);
    const whole = joined(list.flatMap(({ head, body }) => encodeText(head, [body])));
    const bytes = random.next() < 0.2 ? mutatedBytes(whole, random) : whole;
    let outcome: string;
    try {
      outcome = await judge(bytes);
    } catch (error) {
      throw new Error(`${String(error)}, from ${corpus.keepFailed(bytes)}`, { cause: error });
    }
    corpus.note(bytes, outcome);
    const code = codeOf(outcome);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  corpus.write();
  expect(({} as Record<string, unknown>)['shape']).toBeUndefined();
  for (const code of codes.keys()) expect(code).toMatch(/^(opened|INDEX_(DAMAGED|HEADER|MODEL|NEWER))$/);
  expect(codes.get('opened') ?? 0).toBeGreaterThan(RUNS / 20);
  expect(codes.get('INDEX_DAMAGED') ?? 0).toBeGreaterThan(RUNS / 5);
});
