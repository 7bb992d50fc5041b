import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  DEFAULT_MAX_HEADER_BYTES,
  MAX_HEADER_BYTES,
  SafetensorsError,
  dtypeBits,
  encodeSafetensors,
  encodeSafetensorsHeader,
  headerLength,
  inFileOrder,
  parseSafetensors,
  parseSafetensorsHeader,
} from '../../src/safetensors.js';
import { fastestMs } from '../fastest.ts';

interface Case {
  readonly name: string;
  readonly expect: string;
  readonly reference: 'accept' | 'reject';
  readonly base64: string;
}

const fixtures = new URL('../fixtures/', import.meta.url);
const cases: Case[] = JSON.parse(readFileSync(new URL('malformed/safetensors-cases.json', fixtures), 'utf8'));

/** A file with this header and `dataBytes` zero bytes. */
function file(header: string, dataBytes = 0): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

/** Returns 'accept' or the code of the SafetensorsError. Any other error fails the test. */
function verdict(bytes: Uint8Array): string {
  try {
    parseSafetensors(bytes);
    return 'accept';
  } catch (error) {
    expect(error).toBeInstanceOf(SafetensorsError);
    return (error as SafetensorsError).code;
  }
}

function failure(run: () => unknown): SafetensorsError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(SafetensorsError);
    return error as SafetensorsError;
  }
  throw new Error('nothing was thrown');
}

/** The header of one F32 tensor of shape (2, 2), with some fields replaced. */
function entry(fields: { dtype?: string; shape?: string; offsets?: string } = {}): string {
  const { dtype = '"F32"', shape = '[2,2]', offsets = '[0,16]' } = fields;
  return `{"a":{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}}`;
}

describe('the malformed files', () => {
  test('are complete', () => {
    expect(cases).toHaveLength(137);
  });

  test.each(cases)('$name: $expect', ({ base64, expect: expected, reference }) => {
    expect(verdict(Buffer.from(base64, 'base64'))).toBe(expected);
    // This reader may be stricter than the reference, but must not accept a file that the reference rejects.
    expect(expected === 'accept' && reference === 'reject').toBe(false);
  });

  test('nesting 100,000 deep is a type error, not a stack overflow', () => {
    expect(verdict(file(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`))).toBe('FIELD_TYPE');
    expect(verdict(file('['.repeat(100_000)))).toBe('HEADER_NOT_OBJECT');
    expect(verdict(file('{"a":'.repeat(100_000)))).toBe('UNKNOWN_FIELD');
    expect(verdict(file(`{"__metadata__":${'{"a":'.repeat(100_000)}`))).toBe('METADATA_NOT_STRING');
  });

  test('a name may have a million characters', () => {
    const name = 'n'.repeat(1_000_000);
    const header = parseSafetensors(
      file(`{"${name}":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}`, 16),
    );
    expect([...header.tensors.keys()]).toEqual([name]);
  });

  test('a shape of rank 100,000 is too long', () => {
    expect(verdict(file(entry({ shape: `[${'1,'.repeat(99_999)}1]`, offsets: '[0,4]' }), 4))).toBe(
      'FIELD_TYPE',
    );
  });

  test('1,000 tensors on the same 16 bytes overlap', () => {
    const members = Array.from(
      { length: 1000 },
      (_, i) => `"w${i}":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}`,
    );
    expect(verdict(file(`{${members.join(',')}}`, 16))).toBe('OFFSETS_OVERLAP');
  });
});

test('each malformed file is judged within 50 ms and 16 MiB of memory', () => {
  const files = [
    ...cases.map(({ base64 }) => new Uint8Array(Buffer.from(base64, 'base64'))),
    file(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
    file(entry({ shape: `[${'1,'.repeat(99_999)}1]`, offsets: '[0,4]' }), 4),
    file(`{"${'n'.repeat(1_000_000)}":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}`, 16),
  ];
  for (const bytes of files) {
    let [fastest, least] = [Infinity, Infinity];
    for (let attempt = 0; attempt < 20 && (fastest >= 50 || least >= 2 ** 24); attempt++) {
      // repeats because other processes may slow down the machine, and other tests may leave memory to be freed
      const [before, start] = [process.memoryUsage(), performance.now()];
      verdict(bytes);
      const [after, end] = [process.memoryUsage(), performance.now()];
      fastest = Math.min(fastest, end - start);
      const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
      if (grown >= 0) least = Math.min(least, grown); // less than 0: memory was freed meanwhile
    }
    expect(fastest).toBeLessThan(50);
    expect(least).toBeLessThan(2 ** 24);
  }
});

describe('more files', () => {
  const huge = '4503599627370496'; // 2^52
  test.each([
    ['white space alone', ' \n ', 0, 'HEADER_EMPTY'],
    ['a byte order mark after white space', ' \ufeff{}', 0, 'HEADER_NOT_OBJECT'],
    ['a no-break space is not JSON white space', `\u00a0${entry()}`, 16, 'HEADER_NOT_OBJECT'],
    ['a vertical tab inside', '{\v}', 0, 'HEADER_JSON'],
    [
      'white space wherever JSON allows it',
      '{ "a" : { "dtype" : "F32" , "shape" : [ 2 , 2 ] ,\r\n\t"data_offsets" : [ 0 , 16 ] } } ',
      16,
      'accept',
    ],
    ['only a comma', '{,}', 0, 'HEADER_JSON'],
    ['no colon', '{"a" {}}', 0, 'HEADER_JSON'],
    ['no value', '{"a":}', 0, 'HEADER_JSON'],
    [
      'no comma between tensors',
      `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}"b":{}}`,
      4,
      'HEADER_JSON',
    ],
    ['a number as key', '{1:{}}', 0, 'HEADER_JSON'],
    ['an undefined literal', '{"a":undefined}', 0, 'HEADER_JSON'],
    ['a missing dimension', entry({ shape: '[2,,2]' }), 16, 'HEADER_JSON'],
    ['a trailing comma in a shape', entry({ shape: '[2,2,]' }), 16, 'HEADER_JSON'],
    ['an unclosed shape', '{"a":{"shape":[2', 0, 'HEADER_JSON'],
    ['a space inside a number', entry({ shape: '[2 2]' }), 16, 'HEADER_JSON'],
    ['a hexadecimal number', entry({ shape: '[0x4]' }), 16, 'HEADER_JSON'],
    ['a plus sign', entry({ shape: '[+4]' }), 16, 'NUMBER_NOT_UINT'],
    ['full-width digits', entry({ shape: '[４]' }), 16, 'NUMBER_NOT_UINT'],
    ['a number of 100,000 digits', entry({ shape: `[${'9'.repeat(100_000)}]` }), 16, 'NUMBER_TOO_BIG'],
    ['2^53 - 1 bytes of shape', entry({ dtype: '"U8"', shape: '[9007199254740991]' }), 16, 'NUMBER_TOO_BIG'],
    ['a product beyond 2^53', entry({ shape: `[${huge},${huge}]` }), 16, 'NUMBER_TOO_BIG'],
    [
      'a product that wraps to 0 in 64 bits',
      entry({ shape: '[4294967296,4294967296]', offsets: '[0,0]' }),
      0,
      'NUMBER_TOO_BIG',
    ],
    [
      'a product beyond 2^53, then 0',
      entry({ shape: `[${huge},4,0]`, offsets: '[0,0]' }),
      0,
      'NUMBER_TOO_BIG',
    ],
    [
      '0, then a product beyond 2^53',
      entry({ shape: `[0,${huge},4]`, offsets: '[0,0]' }),
      0,
      'NUMBER_TOO_BIG',
    ],
    [
      'an offset that overflows with the header',
      entry({ shape: '[0]', offsets: '[9007199254740991,9007199254740991]' }),
      0,
      'NUMBER_TOO_BIG',
    ],
    ['a number where a dtype stands', entry({ dtype: '{"name":"F32"}' }), 16, 'FIELD_TYPE'],
    ['a dtype written with an escape', entry({ dtype: '"\\u004632"' }), 16, 'accept'],
    ['a dtype named like a method of Object', entry({ dtype: '"toString"' }), 16, 'DTYPE_UNKNOWN'],
    ['a dtype named __proto__', entry({ dtype: '"__proto__"' }), 16, 'DTYPE_UNKNOWN'],
    ['a field named __proto__', '{"a":{"__proto__":{},"dtype":"F32"}}', 0, 'UNKNOWN_FIELD'],
    ['rank 8', entry({ shape: '[1,1,1,1,1,1,2,2]' }), 16, 'accept'],
    ['rank 9', entry({ shape: '[1,1,1,1,1,1,1,2,2]' }), 16, 'FIELD_TYPE'],
    ['no offsets at all', entry({ offsets: '[]' }), 16, 'OFFSETS_ARITY'],
    ['an unknown escape', '{"\\x41":{}}', 0, 'HEADER_JSON'],
    ['a short \\u escape', '{"\\u41":{}}', 0, 'HEADER_JSON'],
    ['a \\u escape with a sign', '{"\\u+041":{}}', 0, 'HEADER_JSON'],
    ['a backslash at the end', '{"\\', 0, 'HEADER_JSON'],
    ['a low surrogate alone', '{"\\udc00":{}}', 0, 'HEADER_JSON'],
    ['two high surrogates', '{"\\ud800\\ud800":{}}', 0, 'HEADER_JSON'],
    ['a high surrogate before a letter', '{"\\ud800\\u0041":{}}', 0, 'HEADER_JSON'],
    ['a surrogate pair', '{"\\ud83d\\udE00":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}', 1, 'accept'],
    [
      'a surrogate pair and the character itself are the same key',
      '{"\\ud83d\\ude00":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"😀":{}}',
      1,
      'DUPLICATE_KEY',
    ],
    ['an escaped __metadata__ is the metadata', '{"\\u005f_metadata__":{"a":"b"}}', 0, 'accept'],
    ['metadata twice, once escaped', '{"\\u005f_metadata__":{},"__metadata__":{}}', 0, 'DUPLICATE_KEY'],
    [
      'keys that differ in Unicode normal form only',
      '{"__metadata__":{"\u00e9":"1","e\u0301":"2"}}',
      0,
      'accept',
    ],
    ['metadata that is not JSON', '{"__metadata__":{"a":b}}', 0, 'HEADER_JSON'],
    [
      'several empty tensors at the same offset',
      '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
      0,
      'accept',
    ],
  ])('%s', (_, header, dataBytes, expected) => {
    expect(verdict(file(header, dataBytes))).toBe(expected);
  });

  test('a character cut in two by the end of the header is invalid UTF-8', () => {
    const bytes = file('{"a":"€', 0);
    bytes[0]! -= 1;
    const error = failure(() => parseSafetensors(bytes));
    expect(error.code).toBe('HEADER_UTF8');
  });

  test('the error names the byte where UTF-8 becomes invalid', () => {
    const text = `{"${'aé€😀'.repeat(30)}`;
    for (let at = 8; at < 8 + new TextEncoder().encode(text).length; at++) {
      const bytes = file(text);
      bytes[at] = 0xff; // 0xff never occurs in UTF-8
      expect(failure(() => parseSafetensors(bytes)).message).toContain(`at byte ${at}.`);
    }
  });

  test('16 MiB of invalid UTF-8 are rejected quickly', () => {
    const bytes = file(' '.repeat(DEFAULT_MAX_HEADER_BYTES));
    bytes[bytes.length - 1] = 0xff;
    expect(verdict(bytes)).toBe('HEADER_UTF8');
    expect(fastestMs(500, () => verdict(bytes))).toBeLessThan(500);
  });
});

describe('the reader', () => {
  test('returns offsets from the start of the file', () => {
    const header =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[3],"data_offsets":[4,10]},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}';
    const bytes = file(header, 10);
    bytes.set([1, 2, 3, 4], 8 + header.length);
    const parsed = parseSafetensors(bytes);
    const dataBegin = 8 + header.length;
    expect(parsed.dataBegin).toBe(dataBegin);
    expect(parsed.fileBytes).toBe(bytes.length);
    expect([...parsed.metadata]).toEqual([['format', 'pt']]);
    expect([...parsed.tensors]).toEqual([
      ['b', { dtype: 'F16', shape: [3], begin: dataBegin + 4, end: dataBegin + 10 }],
      ['a', { dtype: 'U8', shape: [2, 2], begin: dataBegin, end: dataBegin + 4 }],
    ]);
    expect(inFileOrder(parsed.tensors).map(([name]) => name)).toEqual(['a', 'b']);
    const { begin, end } = parsed.tensors.get('a')!;
    expect([...bytes.subarray(begin, end)]).toEqual([1, 2, 3, 4]);
  });

  test('accepts an ArrayBuffer, a Buffer, shared memory, and a view into a buffer', () => {
    const bytes = file(entry(), 16);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    const middle = new Uint8Array(bytes.length + 10);
    middle.set(bytes, 5);
    for (const form of [
      bytes.slice().buffer,
      Buffer.from(bytes),
      shared,
      middle.subarray(5, 5 + bytes.length),
    ]) {
      expect(parseSafetensors(form).tensors.get('a')!.begin).toBe(bytes.length - 16);
    }
  });

  test.each([[undefined], [null], ['text'], [42], [[1, 2]], [new Blob(['abc'])]])(
    'rejects %o, instead of treating it as an empty file',
    (value) => {
      expect(() => parseSafetensors(value as unknown as Uint8Array)).toThrow(TypeError);
    },
  );

  test('accepts property names of Object.prototype as tensor names', () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const members = names.map(
      (name, i) => `"${name}":{"dtype":"U8","shape":[1],"data_offsets":[${i},${i + 1}]}`,
    );
    const { tensors } = parseSafetensors(file(`{${members.join(',')}}`, names.length));
    expect([...tensors.keys()]).toEqual(names);
    expect(({} as Record<string, unknown>)['dtype']).toBeUndefined();
  });

  test('knows the width of every element type', () => {
    const widths: [bits: number, dtypes: string][] = [
      [4, 'F4'],
      [6, 'F6_E2M3 F6_E3M2'],
      [8, 'BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ'],
      [16, 'I16 U16 F16 BF16'],
      [32, 'I32 U32 F32'],
      [64, 'C64 F64 I64 U64'],
    ];
    const all = widths.flatMap(([bits, dtypes]) => dtypes.split(' ').map((dtype) => [dtype, bits] as const));
    expect(all).toHaveLength(22);
    for (const [dtype, bits] of all) {
      expect(dtypeBits(dtype)).toBe(bits);
      expect(
        verdict(file(entry({ dtype: `"${dtype}"`, shape: '[2,4]', offsets: `[0,${bits}]` }), bits)),
      ).toBe('accept');
      expect(
        verdict(file(entry({ dtype: `"${dtype}"`, shape: '[2,4]', offsets: `[0,${bits + 1}]` }), bits + 1)),
      ).toBe('SIZE_MISMATCH');
    }
    expect(dtypeBits('constructor')).toBeUndefined();
  });

  test.each(['tiny-plain', 'tiny-registers', 'tiny-swiglu'])(
    'reads a checkpoint written by the reference: %s',
    (model) => {
      const bytes = readFileSync(new URL(`reference/${model}/model.safetensors`, fixtures));
      const { tensors, fileBytes } = parseSafetensors(bytes);
      expect(fileBytes).toBe(bytes.length);
      expect(tensors.size).toBeGreaterThan(10);
      expect(tensors.get('embeddings.cls_token')?.dtype).toBe('F32');
    },
  );
});

describe('a header parsed without the data', () => {
  const bytes = file(entry(), 16);
  const dataBegin = bytes.length - 16;

  test('needs no data', () => {
    expect(headerLength(bytes.subarray(0, 8))).toBe(dataBegin - 8);
    const header = parseSafetensorsHeader(bytes.subarray(0, dataBegin));
    expect(header).toEqual(parseSafetensors(bytes));
  });

  test('is checked against the size of the file, if that is known', () => {
    const head = bytes.subarray(0, dataBegin);
    expect(parseSafetensorsHeader(head, { fileBytes: bytes.length }).fileBytes).toBe(bytes.length);
    expect(failure(() => parseSafetensorsHeader(head, { fileBytes: bytes.length - 1 })).code).toBe(
      'DATA_TRUNCATED',
    );
    expect(failure(() => parseSafetensorsHeader(head, { fileBytes: bytes.length + 1 })).code).toBe(
      'TRAILING_BYTES',
    );
    expect(failure(() => parseSafetensorsHeader(head, { fileBytes: dataBegin - 1 })).code).toBe(
      'HEADER_PAST_EOF',
    );
  });

  test('must be complete', () => {
    expect(failure(() => parseSafetensorsHeader(bytes.subarray(0, dataBegin - 1))).code).toBe(
      'HEADER_PAST_EOF',
    );
    expect(failure(() => headerLength(bytes.subarray(0, 7))).code).toBe('FILE_TOO_SMALL');
    expect(failure(() => headerLength(bytes.subarray(0, 8), { fileBytes: 3 })).code).toBe('FILE_TOO_SMALL');
  });

  test('must not exceed the limit of the caller or of the format', () => {
    const prefix = (length: number): Uint8Array => {
      const first8 = new Uint8Array(8);
      new DataView(first8.buffer).setBigUint64(0, BigInt(length), true);
      return first8;
    };
    expect(headerLength(prefix(DEFAULT_MAX_HEADER_BYTES))).toBe(DEFAULT_MAX_HEADER_BYTES);
    expect(failure(() => headerLength(prefix(DEFAULT_MAX_HEADER_BYTES + 1))).code).toBe('HEADER_TOO_LARGE');
    expect(headerLength(prefix(MAX_HEADER_BYTES), { maxHeaderBytes: MAX_HEADER_BYTES })).toBe(100_000_000);
    expect(
      failure(() => headerLength(prefix(MAX_HEADER_BYTES + 1), { maxHeaderBytes: MAX_HEADER_BYTES })).code,
    ).toBe('HEADER_TOO_LARGE');
    expect(failure(() => headerLength(prefix(58), { maxHeaderBytes: 57 })).message).toContain(
      'get the file again',
    );
    for (const wrong of [0, -1, 1.5, NaN, MAX_HEADER_BYTES + 1]) {
      expect(() => headerLength(prefix(2), { maxHeaderBytes: wrong })).toThrow(RangeError);
    }
  });
});

describe('error messages', () => {
  test('give the expected and the found value, and the position', () => {
    const message = (header: string, dataBytes: number): string =>
      failure(() => parseSafetensors(file(header, dataBytes))).message;
    expect(message(entry({ offsets: '[0,4]' }), 4)).toContain(
      'expected 16 bytes for "a" (F32 of shape [2, 2]), found 4 (data_offsets [0, 4]) at byte 13.',
    );
    expect(message(entry({ dtype: '"F33"' }), 16)).toMatch(
      /expected one of BOOL .* U64 for "dtype" of "a", found "F33" at byte 22\./,
    );
    expect(message(entry(), 17)).toContain('expected 81 bytes, found 82: 1 bytes behind the last tensor');
    expect(message(entry(), 15)).toContain(
      'expected 81 bytes, found 80: the file ends before tensor "a" does',
    );
    expect(failure(() => parseSafetensors(file('{'), { name: 'vits.safetensors' })).message).toMatch(
      /^vits\.safetensors: expected /,
    );
  });

  test('count bytes, not characters', () => {
    expect(failure(() => parseSafetensors(file('{"€€€":x}'))).message).toContain(
      `found "x}" at byte ${8 + 13}.`,
    );
  });

  test('stay short, and show control characters as escapes', () => {
    const name = `\\u001b[31m${'x'.repeat(1_000_000)}`;
    const { message } = failure(() => parseSafetensors(file(`{"${name}":{}}`)));
    expect(message.length).toBeLessThan(1000);
    expect(message).toContain('\\u001b[31m');
    expect(message).not.toContain('\x1b');
  });

  const latin1 = (text: string): Uint8Array =>
    Uint8Array.from(text.padEnd(64, '\0'), (char) => char.charCodeAt(0));
  test.each([
    ['<!DOCTYPE html><html>', 'This is a web page'],
    ['\n  <html>', 'This is a web page'],
    ['\xef\xbb\xbf<html>', 'This is a web page'],
    ['<?xml version="1.0"?><Error>', 'This is a web page'],
    ['version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'],
    ['PK\x03\x04\x00\x00\x08\x08', 'safetensors.torch.save_file'],
    ['\x80\x02\x8a\nl\xfc\x9cF\xf9', 'Python pickle'],
    ['GGUF\x03\x00\x00\x00', 'GGUF'],
    ['\x89HDF\r\n\x1a\n', 'HDF5'],
    ['\x1f\x8b\x08\x00\x00\x00\x00\x00', 'gzip'],
    ['{"metadata":{"total_size"', 'This is JSON'],
    ['Entry not found', 'begins with the text \\"Entry no\\"'.replaceAll('\\', '')],
    ['\xff\xff\xff\xff\xff\xff\xff\xff', 'The file is damaged'],
  ])('recognise %j', (text, advice) => {
    expect(failure(() => parseSafetensors(latin1(text))).message).toContain(advice);
  });
});

describe('the writer', () => {
  test('writes files that the reader accepts, with the widest elements first and all tensors aligned', () => {
    const bytes = encodeSafetensors(
      new Map([
        ['flags', { dtype: 'BOOL', shape: [3], data: Uint8Array.of(1, 0, 1) }],
        ['vectors', { dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
        ['ids', { dtype: 'U32', shape: [2], data: Uint32Array.of(7, 8).buffer }],
        ['none', { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) }],
        ['scalar', { dtype: 'F64', shape: [], data: Float64Array.of(0.5) }],
      ] as const),
      [
        ['kind', 'index'],
        ['quote "\\\n', '😀'],
      ],
    );
    const header = parseSafetensors(bytes);
    expect([...header.tensors.keys()]).toEqual(['scalar', 'vectors', 'ids', 'none', 'flags']);
    expect([...header.metadata]).toEqual([
      ['kind', 'index'],
      ['quote "\\\n', '😀'],
    ]);
    expect(header.dataBegin % 8).toBe(0);
    for (const { dtype, begin } of header.tensors.values()) {
      expect(begin % (dtypeBits(dtype)! / 8)).toBe(0);
    }
    const { begin } = header.tensors.get('vectors')!;
    expect([...new Float32Array(bytes.buffer, begin, 4)]).toEqual([1, 2, 3, 4]);
  });

  test('writes a header without data, and no metadata if there is none', () => {
    const { bytes, header } = encodeSafetensorsHeader([['a', { dtype: 'F16', shape: [3, 5] }]]);
    expect(new TextDecoder().decode(bytes.subarray(8)).trimEnd()).toBe(
      '{"a":{"dtype":"F16","shape":[3,5],"data_offsets":[0,30]}}',
    );
    expect(header).toEqual(parseSafetensorsHeader(bytes, { fileBytes: bytes.length + 30 }));
    expect(verdict(encodeSafetensorsHeader([]).bytes)).toBe('accept');
  });

  test('rejects input that would make an invalid file', () => {
    const f32 = (shape: number[]) => ({ dtype: 'F32', shape }) as const;
    const code = (run: () => unknown): string => failure(run).code;
    expect(
      code(() =>
        encodeSafetensorsHeader([
          ['a', f32([1])],
          ['a', f32([1])],
        ]),
      ),
    ).toBe('DUPLICATE_KEY');
    expect(code(() => encodeSafetensorsHeader([['\ud800', f32([1])]]))).toBe('HEADER_JSON');
    expect(code(() => encodeSafetensorsHeader([['__metadata__', f32([1])]]))).toBe('METADATA_NOT_STRING');
    expect(code(() => encodeSafetensorsHeader([['a', { dtype: 'F31' as 'F32', shape: [] }]]))).toBe(
      'DTYPE_UNKNOWN',
    );
    expect(code(() => encodeSafetensorsHeader([['a', { dtype: 'F4', shape: [3] }]]))).toBe(
      'SUBBYTE_MISALIGNED',
    );
    expect(code(() => encodeSafetensorsHeader([['a', f32([1.5])]]))).toBe('NUMBER_NOT_UINT');
    expect(code(() => encodeSafetensorsHeader([['a', f32([-1])]]))).toBe('NUMBER_NOT_UINT');
    expect(code(() => encodeSafetensorsHeader([['a', f32([2 ** 53])]]))).toBe('NUMBER_NOT_UINT');
    expect(code(() => encodeSafetensorsHeader([['a', f32([1, 1, 1, 1, 1, 1, 1, 1, 1])]]))).toBe('FIELD_TYPE');
    expect(code(() => encodeSafetensorsHeader([], [['x', 1 as unknown as string]]))).toBe(
      'METADATA_NOT_STRING',
    );
    expect(
      code(() =>
        encodeSafetensorsHeader(
          [],
          [
            ['x', '1'],
            ['x', '2'],
          ],
        ),
      ),
    ).toBe('DUPLICATE_KEY');
    expect(code(() => encodeSafetensors([['a', { ...f32([2]), data: new Float32Array(3) }]]))).toBe(
      'SIZE_MISMATCH',
    );
  });
});

describe('a hostile header of 100 kB is parsed within 50 ms', () => {
  const many = (member: (i: number) => string): string => {
    const members: string[] = [];
    for (let bytes = 0, i = 0; bytes < 100_000; i++) {
      members.push(member(i));
      bytes += members[i]!.length + 1;
    }
    return `{${members.join(',')}}`;
  };
  test.each([
    ['only escapes', `{"${'\\u0041'.repeat(16_000)}":{}}`],
    ['only escaped quotes', `{"${'\\"'.repeat(50_000)}`],
    ['an unclosed string', `{"${'a'.repeat(100_000)}`],
    ['nesting', `{"a":${'['.repeat(100_000)}`],
    ['white space', ' '.repeat(100_000)],
    ['digits', entry({ shape: `[${'1'.repeat(100_000)}]` })],
    ['many metadata', `{"__metadata__":${many((i) => `"${i}":""`)}}`],
    ['many empty tensors', many((i) => `"${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`)],
    [
      'many tensors on the same bytes',
      many((i) => `"${i}":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`),
    ],
    [
      'many tensors in reverse',
      many((i) => `"${i}":{"dtype":"U8","shape":[1],"data_offsets":[${9999 - i},${10_000 - i}]}`),
    ],
  ])('%s', (_, header) => {
    const bytes = file(header, 4);
    expect(fastestMs(50, () => verdict(bytes))).toBeLessThan(50);
  });
});
