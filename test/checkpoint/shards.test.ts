import { expect, test } from 'vitest';
import { encodeSafetensors } from '../../src/safetensors.ts';
import { openCheckpoint } from '../../src/safetensors/checkpoint.ts';
import { parseShardIndex } from '../../src/safetensors/shards.ts';

const parse = (json: unknown): ReturnType<typeof parseShardIndex> =>
  parseShardIndex(new TextEncoder().encode(typeof json === 'string' ? json : JSON.stringify(json)));
const shard = (...names: string[]): Uint8Array =>
  encodeSafetensors(names.map((name) => [name, { dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) }]));
const a = 'model-00001-of-00002.safetensors';
const b = 'model-00002-of-00002.safetensors';

test.each([
  ['not JSON', '{'],
  ['null', null],
  ['a list', []],
  ['no map', {}],
  ['a map that is a list', { weight_map: ['x'] }],
  ['an empty map', { weight_map: {} }],
  ['a number as file', { weight_map: { x: 1 } }],
])('%s is rejected as an index', (_, json) => {
  expect(() => parse(json)).toThrow(expect.objectContaining({ code: 'SOURCE_INDEX' }));
});

test.each([
  '../a.safetensors',
  '/a.safetensors',
  'a/b.safetensors',
  'a\\b.safetensors',
  'a%2e%2e.safetensors',
  'https://x/a.safetensors',
  'a\0.safetensors',
  'a?.safetensors',
  'a#.safetensors',
  '.a.safetensors',
  'a..b.safetensors',
  'model.bin',
  `${'a'.repeat(250)}.safetensors`,
  '',
])('%j is rejected as the name of a shard', (file) => {
  expect(() => parse({ weight_map: { x: file } })).toThrow(expect.objectContaining({ code: 'SOURCE_INDEX' }));
});

test('shards with numbered names must be complete; at most 64 shards are allowed', () => {
  expect(parse({ weight_map: { x: a, y: b } }).files).toEqual([a, b]);
  for (const files of [
    [a],
    [a, 'model-00003-of-00002.safetensors'],
    [a, 'model-00002-of-00003.safetensors'],
  ]) {
    expect(() => parse({ weight_map: Object.fromEntries(files.map((file, i) => [`t${i}`, file])) })).toThrow(
      /states a different number/,
    );
  }
  expect(() =>
    parse({
      weight_map: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`t${i}`, `s${i}.safetensors`])),
    }),
  ).toThrow(/1 to 64 files, found 65/);
});

test('names such as __proto__ are ordinary tensor names', async () => {
  const index = parse(`{"weight_map": {"__proto__": "${a}", "constructor": "${b}"}}`);
  expect([...index.weightMap]).toEqual([
    ['__proto__', a],
    ['constructor', b],
  ]);
  const stream = await openCheckpoint(
    [
      { name: a, source: shard('__proto__') },
      { name: b, source: shard('constructor') },
    ],
    { index },
  );
  const seen: string[] = [];
  for await (const { name } of stream.pieces) seen.push(name);
  expect(seen).toEqual(['__proto__', 'constructor']);
  expect(({} as Record<string, unknown>)['dtype']).toBeUndefined();
});

test.each([
  [
    'a tensor of the map is in no file',
    { x: a, y: b, z: b },
    [['x'], ['y']],
    /expected tensor "z" in .*found it in no file/,
  ],
  [
    'a tensor is in another file than the map says',
    { x: a, y: b },
    [['y'], ['x']],
    /expected tensor "x" in .*found it in model-00002/,
  ],
  ['a tensor is not in the map', { x: a, y: b }, [['x'], ['y', 'z']], /does not list the tensor "z"/],
  ['a tensor is in two files', { x: a, y: b }, [['x'], ['x', 'y']], /every tensor in one file, found "x"/],
] as const)('%s', async (_, map, files, text) => {
  const index = parse({ weight_map: map });
  const opened = openCheckpoint(
    [
      { name: a, source: shard(...files[0]) },
      { name: b, source: shard(...files[1]) },
    ],
    { index },
  );
  await expect(opened).rejects.toMatchObject({
    code: 'SOURCE_INDEX',
    message: expect.stringMatching(text) as string,
  });
});

test('total_size must be correct if it is a number', async () => {
  const open = (size: unknown): Promise<unknown> =>
    openCheckpoint(
      [
        { name: a, source: shard('x') },
        { name: b, source: shard('y') },
      ],
      { index: parse({ metadata: { total_size: size }, weight_map: { x: a, y: b } }) },
    );
  await open(16);
  await open('16 bytes');
  await expect(open(20)).rejects.toThrow(/20 bytes \(total_size\), found 16/);
});
