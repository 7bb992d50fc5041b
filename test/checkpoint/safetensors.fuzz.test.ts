/**
 * Fuzz tests of the safetensors reader, with a fixed seed. The reader may only throw SafetensorsError, and an
 * independent check with JSON.parse and BigInt must agree that accepted files are valid. `npm run test:fuzz`
 * runs ten million files of each kind.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  SafetensorsError,
  dtypeBits,
  inFileOrder,
  parseSafetensors,
  type SafetensorsHeader,
} from '../../src/safetensors.js';
import { plainHeaderLength, readPlainHeader } from '../../src/safetensors/plainHeader.ts';
import { Corpus } from '../corpus.ts';
import { full, long } from '../full.ts';
import { mutatedSafetensors, random } from './mutated.ts';

const RUNS = long ? 10_000_000 : full ? 500_000 : 50_000;
/** Ten million files take about 10 minutes on a core of its own, and much longer on a busy machine. */
const TIMEOUT_MS = Math.max(60_000, RUNS);

const { stackTraceLimit } = Error;
beforeAll(() => {
  Error.stackTraceLimit = 0; // stack traces would take half of the time
});
afterAll(() => {
  corpus.write();
  Error.stackTraceLimit = stackTraceLimit;
});

const corpus = new Corpus('safetensors');
let plainHeaders = 0;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The header as the plain reader parses it; undefined if that reader leaves the header to the strict one. */
function plainHeader(bytes: Uint8Array): SafetensorsHeader | undefined {
  const length = plainHeaderLength(bytes.subarray(0, 8), bytes.length);
  return length === undefined ? undefined : readPlainHeader(bytes.subarray(0, 8 + length), bytes.length);
}

/** Parses a file. Returns 'accept' or the error code, after checking the accepted file or the error. */
function judge(bytes: Uint8Array<ArrayBuffer>): string {
  try {
    parseSafetensors(bytes);
  } catch (error) {
    if (!(error instanceof SafetensorsError) || error.message.length > 1500) {
      throw new Error(`${String(error)}, from ${corpus.keepFailed(bytes)}`, { cause: error });
    }
    if (plainHeader(bytes)) throw new Error(`accepted by plainHeader.ts: ${corpus.keepFailed(bytes)}`);
    corpus.note(bytes, error.code);
    return error.code;
  }
  try {
    checkAccepted(bytes);
    const plain = plainHeader(bytes);
    if (plain) expect(plain).toEqual(parseSafetensors(bytes));
    if (plain) plainHeaders += 1;
  } catch (error) {
    throw new Error(`wrongly accepted: ${corpus.keepFailed(bytes)}`, { cause: error });
  }
  corpus.note(bytes, 'accept');
  return 'accept';
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) {
    throw new Error(what);
  }
}

function checkAccepted(bytes: Uint8Array): void {
  const { tensors, metadata, dataBegin, fileBytes } = parseSafetensors(bytes);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  check(dataBegin === 8 + length && fileBytes === bytes.length, 'lengths');

  // The tensors fill the data without a hole or overlap, and each size matches its type and shape.
  let at = dataBegin;
  for (const [name, { dtype, shape, begin, end }] of inFileOrder(tensors)) {
    check(begin === at && end >= begin, `${name} begins at ${begin}, not at ${at}`);
    const bits = shape.reduce((product, size) => product * BigInt(size), BigInt(dtypeBits(dtype)!));
    check(bits === BigInt(end - begin) * 8n, `${name} has the wrong size`);
    at = end;
  }
  check(at === bytes.length, 'the data do not end where the file ends');

  // JSON.parse finds the same content.
  const json = JSON.parse(decoder.decode(bytes.subarray(8, dataBegin))) as Record<
    string,
    Record<string, unknown>
  >;
  const names = Object.keys(json).filter((name) => name !== '__metadata__');
  check(names.length === tensors.size, 'the number of tensors');
  for (const name of names) {
    const info = tensors.get(name);
    const offsets = [info!.begin - dataBegin, info!.end - dataBegin];
    const { dtype, shape, data_offsets } = json[name]!;
    check(
      dtype === info!.dtype &&
        String(shape) === String(info!.shape) &&
        String(data_offsets) === String(offsets),
      `the fields of ${name}`,
    );
  }
  const strings = Object.entries(json['__metadata__'] ?? {});
  check(
    strings.length === metadata.size && strings.every(([key, value]) => metadata.get(key) === value),
    'the metadata',
  );
}

test('the corpus', () => corpus.replay(judge));

test('random bytes', { timeout: TIMEOUT_MS }, () => {
  const files = mutatedSafetensors(1);
  const verdicts = new Map<string, number>();
  for (let run = 0; run < RUNS; run++) {
    const verdict = judge(files.next().value);
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
  }
  expect(verdicts.size).toBeGreaterThan(20);
});

interface Tensor {
  name: string;
  dtype: string;
  shape: string[];
  offsets: string[];
  /** Text inserted after the last field. */
  more: string;
}

test('well-formed headers with one or two things wrong', { timeout: TIMEOUT_MS }, () => {
  const next = random(2);
  const pick = <T>(items: readonly T[]): T => items[next(items.length)]!;
  const types = ['BOOL', 'F4', 'F6_E2M3', 'U8', 'F16', 'BF16', 'F32', 'I64', 'C64'];
  const names = [
    'a',
    'b',
    '',
    '__proto__',
    'x.y.0',
    'ä',
    '\\u0061',
    '\\ud83d\\ude00',
    '\\n',
    'constructor',
    '1',
  ];
  const numbers = [
    '0',
    '1',
    '3',
    '8',
    '16',
    '00',
    '-0',
    '-1',
    '1.0',
    '1e0',
    '1E400',
    '9007199254740991',
    '9007199254740992',
    '18446744073709551616',
  ];
  const others = [
    'null',
    'true',
    '"8"',
    '[]',
    '{}',
    '[[1]]',
    'NaN',
    '',
    ' 4 ',
    '\t0',
    '0x1',
    '"',
    '\\',
    '\u00a0',
    '\0',
    '/**/',
  ];
  const keys = ['__metadata__', '\\u005f_metadata__', '\\ud800', 'dtype', 'a', '\\x'];

  const verdicts = new Map<string, number>();
  for (let run = 0; run < RUNS; run++) {
    const tensors: Tensor[] = [];
    let at = 0;
    for (let count = next(5); tensors.length < count;) {
      const dtype = pick(types);
      const shape = Array.from({ length: next(4) }, () => next(4));
      const bits = shape.reduce((product, size) => product * size, dtypeBits(dtype)!);
      const name = pick(names);
      const taken = tensors.some(
        (other) =>
          other.name === name ||
          (name === '\\u0061' && other.name === 'a') ||
          (name === 'a' && other.name === '\\u0061'),
      );
      if (bits % 8 === 0 && !taken) {
        tensors.push({
          name,
          dtype: `"${dtype}"`,
          shape: shape.map(String),
          offsets: [`${at}`, `${at + bits / 8}`],
          more: '',
        });
        at += bits / 8;
      }
    }
    let metadata = next(3) === 0 ? '"__metadata__":{"format":"pt"}' : '';
    let padding = ' '.repeat(next(8));
    let lead = '';
    let lengthOff = 0;
    const valid = next(8) === 0;
    for (let edits = valid ? 0 : 1 + next(2); edits > 0; edits--) {
      const tensor: Tensor | undefined = tensors[next(Math.max(1, tensors.length))];
      const list = tensor && pick([tensor.shape, tensor.offsets]);
      switch (next(tensor ? 12 : 5)) {
        case 0:
          at = Math.max(0, at + pick([-1, 1, 16, -at]));
          break;
        case 1:
          metadata = pick([
            '"__metadata__":null',
            '"__metadata__":{"a":1}',
            '"__metadata__":{"a":"1","\\u0061":"2"}',
            `"${pick(keys)}":{}`,
            pick(others),
          ]);
          break;
        case 2:
          padding = pick(['\0', '{}', '  \r\n', 'x', '\ufeff']);
          break;
        case 3:
          lead = pick([' ', '\ufeff', '[', '\n\t', '\0']);
          break;
        case 4:
          lengthOff = next(5) - 2;
          break;
        case 5:
          tensor!.dtype = pick(['"F33"', '"f32"', `"${pick(types)}"`, pick(numbers), pick(others)]);
          break;
        case 6:
        case 7:
          list![next(list!.length + 1)] = pick(next(2) === 0 ? numbers : others);
          break;
        case 8:
          tensor!.name = pick(next(2) === 0 ? names : keys);
          break;
        case 9:
          tensor!.more = pick([
            ',',
            ',"dtype":"F32"',
            ',"shap\\u0065":[]',
            ',"extra":1',
            '}',
            ']',
            ',"__proto__":{}',
          ]);
          break;
        case 10:
          tensor!.offsets = pick([
            [...tensor!.offsets].reverse(),
            tensor!.offsets.slice(0, 1),
            [...tensor!.offsets, '1'],
            tensors[0]!.offsets,
          ]);
          break;
        case 11:
          tensor!.offsets = tensor!.offsets.map((offset) => String(Number(offset) + 1 + next(8)));
          break;
      }
    }
    // The order of the members is independent of the order of the data.
    const members = tensors.map(
      ({ name, dtype, shape, offsets, more }) =>
        `"${name}":{"dtype":${dtype},"shape":[${shape}],"data_offsets":[${offsets}]${more}}`,
    );
    members.splice(next(members.length + 1), 0, ...(metadata === '' ? [] : [metadata]));
    members.sort(() => next(3) - 1);
    let header = `${lead}{${members.join(',')}}${padding}`;
    if (!valid && next(4) === 0) {
      const cut = next(header.length);
      header =
        header.slice(0, cut) +
        pick(['', '', '"', '}', '\\', '\ud800', ',', '0']) +
        header.slice(cut + next(3));
    }
    const json = encoder.encode(header);
    const bytes = new Uint8Array(8 + json.length + at);
    bytes.set(json, 8);
    new DataView(bytes.buffer).setUint32(0, Math.max(0, json.length + lengthOff), true);
    const verdict = judge(bytes);
    if (valid && verdict !== 'accept') {
      throw new Error(`wrongly rejected, ${verdict}: ${header}`);
    }
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
  }
  // Each of these codes must occur often, which shows that the headers reach every check. The test above covers the
  // codes that depend on the first 8 bytes.
  const reached =
    'accept HEADER_JSON HEADER_TRAILING HEADER_NOT_OBJECT DUPLICATE_KEY UNKNOWN_FIELD MISSING_FIELD FIELD_TYPE METADATA_NOT_STRING ' +
    'DTYPE_UNKNOWN SUBBYTE_MISALIGNED NUMBER_NOT_UINT NUMBER_TOO_BIG SIZE_MISMATCH OFFSETS_ARITY OFFSETS_REVERSED OFFSETS_HOLE ' +
    'OFFSETS_OVERLAP DATA_TRUNCATED TRAILING_BYTES HEADER_PAST_EOF';
  for (const code of reached.split(' ')) {
    expect(verdicts.get(code) ?? 0, code).toBeGreaterThan(10);
  }
  expect(plainHeaders).toBeGreaterThan(RUNS / 50);
});
