/**
 * A strict reader, and a writer, of the safetensors format: https://github.com/huggingface/safetensors#format.
 *
 *     bytes 0 … 8        N, the length of the header: unsigned, 64 bits, little-endian
 *     bytes 8 … 8 + N    the header, JSON: { "name": { "dtype", "shape", "data_offsets": [begin, end] }, "__metadata__": { … } }
 *     the rest           the tensors: no hole between them, no overlap, nothing behind the last
 *
 * It rejects all that the reference (safetensors 0.8.0, Rust) rejects, and also what the format's text forbids but the reference lets
 * through: duplicate names, unknown fields, a tensor written as an array, `"__metadata__": null`. JSON.parse cannot do that: it keeps the
 * last of two equal keys, turns 2.0 into 2 and 9007199254740993 into …992, and recurses. So the header has a scanner of its own, which
 * goes over the text once and never deeper than the format does.
 *
 * Names come from the file, and may be `__proto__`: they are keys of a Map, never of an object.
 */
import { SafetensorsError } from '../errors.js';
import type { SafetensorsCode } from '../errors.js';

export { SafetensorsError };
export type { SafetensorsCode };

/** Every element type of the format, with its width in bits. Two are narrower than a byte. */
const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** The name of an element type, as the header writes it. */
export type SafetensorsDtype = keyof typeof DTYPE_BITS;

/** The most that the format allows for the header, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** The most that the reader takes for the header unless told otherwise: 16 MiB. The header of DINOv2-L has 50 KB. */
export const DEFAULT_MAX_HEADER_BYTES: number = 16 * 2 ** 20;

/** The format sets no limit; nothing real has more dimensions, and a limit keeps a hostile shape short. */
const MAX_RANK = 8;

const PREFIX_BYTES = 8;
const METADATA = '__metadata__';
const REWRITE = 'The file is damaged or its writer is faulty: download it again, or save it again with the safetensors library.';

/** One tensor: what its elements are and where they lie. */
export interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  /** Outermost dimension first; `[]` is a scalar. A dimension may be 0, and then the tensor has no bytes. */
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file: `bytes.subarray(begin, end)` is the tensor. It may be unaligned. */
  readonly begin: number;
  /** One behind the last byte, counted from the start of the file. */
  readonly end: number;
}

/** What the header of a file says. */
export interface SafetensorsHeader {
  /** By name, in the order of the header, which need not be the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The strings under `__metadata__`; empty if there are none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Where the first tensor begins: 8 + the header's length, in bytes. */
  readonly dataBegin: number;
  /** The size of the whole file by its header, in bytes. */
  readonly fileBytes: number;
}

export interface SafetensorsOptions {
  /** Reject a longer header, in bytes: 1 to 100,000,000. Default: 16 MiB. */
  readonly maxHeaderBytes?: number | undefined;
  /** What messages call the file. Default: `safetensors`. */
  readonly name?: string | undefined;
}

export interface SafetensorsHeaderOptions extends SafetensorsOptions {
  /** The size of the whole file in bytes, if it is known: then missing and surplus bytes are errors. */
  readonly fileBytes?: number | undefined;
}

/** What the writer has to know about a tensor. */
export interface TensorSpec {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/**
 * The width of an element in bits, or undefined if the format has no such type.
 */
export function dtypeBits(dtype: string): number | undefined {
  return Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype as SafetensorsDtype] : undefined;
}

/**
 * Reads the header of a whole file and checks all of it against the bytes.
 *
 * @param bytes the file; it is neither kept nor changed
 * @returns where each tensor lies in `bytes`
 * @throws SafetensorsError whatever is wrong with the bytes; `code` says which rule they break
 * @throws TypeError if `bytes` holds no bytes; RangeError if an option is out of range
 */
export function parseSafetensors(bytes: Uint8Array | ArrayBuffer, options: SafetensorsOptions = {}): SafetensorsHeader {
  const file = asBytes(bytes);
  return parseSafetensorsHeader(file, { ...options, fileBytes: file.length });
}

/**
 * The length of the header's JSON in bytes, from the first 8 bytes of a file: for those who read a stream. The tensors begin 8 bytes
 * further on.
 *
 * @throws SafetensorsError FILE_TOO_SMALL, HEADER_EMPTY, HEADER_TOO_LARGE or HEADER_PAST_EOF. The message recognises the usual mistakes: a
 * page, a git-lfs pointer, a PyTorch checkpoint, a GGUF file
 */
export function headerLength(first8: Uint8Array, options: SafetensorsHeaderOptions = {}): number {
  const { fileBytes, name: where = 'safetensors', maxHeaderBytes = DEFAULT_MAX_HEADER_BYTES } = options;
  if (!Number.isInteger(maxHeaderBytes) || maxHeaderBytes < 1 || maxHeaderBytes > MAX_HEADER_BYTES) {
    throw new RangeError(`maxHeaderBytes: expected an integer from 1 to ${MAX_HEADER_BYTES}, found ${maxHeaderBytes}.`);
  }
  const available = Math.min(first8.length, fileBytes ?? Infinity);
  if (available < PREFIX_BYTES) {
    throw new SafetensorsError(
      'FILE_TOO_SMALL',
      `${where}: expected at least ${PREFIX_BYTES} bytes, found ${available}. The file is empty or was cut: download it again.`,
    );
  }
  const low = uint32(first8, 0);
  const high = uint32(first8, 4);
  // Inexact from 2^53 on, where all that counts is that it is too large.
  const length = high * 2 ** 32 + low;
  if (length === 0) {
    throw new SafetensorsError('HEADER_EMPTY', `${where}: expected a header, found one of 0 bytes. ${REWRITE}`);
  }
  // The format's limit, then the file, then our own limit: a header that cannot be there is worse news than one that is merely long.
  if (length > MAX_HEADER_BYTES) {
    throw new SafetensorsError(
      'HEADER_TOO_LARGE',
      `${where}: expected a header of at most ${MAX_HEADER_BYTES} bytes, found a length of ${exactLength(first8)}. ${whatElse(first8)}`,
    );
  }
  if (fileBytes !== undefined && PREFIX_BYTES + length > fileBytes) {
    throw new SafetensorsError(
      'HEADER_PAST_EOF',
      `${where}: expected a header of ${length} bytes, found ${fileBytes - PREFIX_BYTES} bytes to the end of the file. ${whatElse(first8)}`,
    );
  }
  if (length > maxHeaderBytes) {
    throw new SafetensorsError(
      'HEADER_TOO_LARGE',
      `${where}: expected a header of at most ${maxHeaderBytes} bytes, found a length of ${length}. ` +
        `${whatElse(first8, 'If the file is meant to be like that, raise maxHeaderBytes.')}`,
    );
  }
  return length;
}

/**
 * Reads a header that stands alone: for those who read a stream.
 *
 * @param headerBytes the first 8 + `headerLength()` bytes of a file; what follows them is not looked at
 * @throws SafetensorsError whatever is wrong with the header; DATA_TRUNCATED and TRAILING_BYTES only if `fileBytes` is given
 */
export function parseSafetensorsHeader(headerBytes: Uint8Array | ArrayBuffer, options: SafetensorsHeaderOptions = {}): SafetensorsHeader {
  const bytes = asBytes(headerBytes);
  const where = options.name ?? 'safetensors';
  const length = headerLength(bytes, options);
  const dataBegin = PREFIX_BYTES + length;
  if (bytes.length < dataBegin) {
    throw new SafetensorsError(
      'HEADER_PAST_EOF',
      `${where}: expected a header of ${length} bytes, found ${bytes.length - PREFIX_BYTES}. ${REWRITE}`,
    );
  }
  const scanner = new HeaderScanner(decode(bytes, dataBegin, where), dataBegin, where);
  scanner.header();
  const fileBytes = checkLayout(scanner.tensors, dataBegin, where);
  if (options.fileBytes !== undefined) {
    checkFileBytes(scanner.tensors, fileBytes, options.fileBytes, where);
  }
  return { tensors: scanner.tensors, metadata: scanner.metadata, dataBegin, fileBytes };
}

/**
 * Writes a header, and says where each tensor's bytes then belong.
 *
 * Tensors are laid out with the widest elements first and otherwise in the order given, and the header is padded to a multiple of 8 bytes,
 * so that every tensor is aligned to its element.
 *
 * @param tensors names and what they stand for: a Map, or pairs
 * @param metadata strings for `__metadata__`
 * @returns `bytes`: the length and the JSON; `header`: what the reader makes of them, tensors in the order of the data
 * @throws SafetensorsError if no such file can be: two equal names, an unknown type, a size that is not an integer, a lone surrogate
 */
export function encodeSafetensorsHeader(
  tensors: Iterable<readonly [name: string, spec: TensorSpec]>,
  metadata: Iterable<readonly [key: string, value: string]> = [],
): { bytes: Uint8Array<ArrayBuffer>; header: SafetensorsHeader } {
  const where = 'encodeSafetensors';
  const specs = Array.from(tensors, ([name, { dtype, shape }]) => {
    if (name === METADATA) {
      throw new SafetensorsError(
        'METADATA_NOT_STRING',
        `${where}: expected the name of a tensor, found "${METADATA}", which is reserved. Rename it.`,
      );
    }
    // Within this range a number's text is its digits alone, which is what the format asks for.
    if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      throw new SafetensorsError(
        'NUMBER_NOT_UINT',
        `${where}: expected a shape of integers from 0 on, found ${showShape(shape)} for ${quote(name)}.`,
      );
    }
    return { name, dtype, shape, bits: knownBits(dtype, name, where), byteLength: tensorBytes(dtype, shape, name, where) };
  });
  specs.sort((a, b) => b.bits - a.bits); // stable

  const members: string[] = [];
  const strings = Array.from(metadata, ([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  if (strings.length > 0) {
    members.push(`"${METADATA}":{${strings.join(',')}}`);
  }
  let begin = 0;
  for (const { name, dtype, shape, byteLength } of specs) {
    const end = begin + byteLength;
    members.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${begin},${end}]}`);
    begin = end;
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(PREFIX_BYTES + padded).fill(0x20, PREFIX_BYTES + json.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, padded, true);
  bytes.set(json, PREFIX_BYTES);
  // The reader has the last word on names, numbers and metadata: what it would not read is not written.
  const header = parseSafetensorsHeader(bytes, { name: where, maxHeaderBytes: MAX_HEADER_BYTES });
  return { bytes, header };
}

/**
 * Writes a whole file. Elements are stored as they lie in memory, so the machine has to be little-endian, as all that run WebGPU are.
 *
 * @param tensors names, and with each its type, its shape and its bytes (any typed array)
 * @param metadata strings for `__metadata__`
 * @throws SafetensorsError if no such file can be; SIZE_MISMATCH if `data` is not as long as type and shape say
 */
export function encodeSafetensors(
  tensors: Iterable<readonly [name: string, tensor: TensorSpec & { readonly data: ArrayBufferView | ArrayBuffer }]>,
  metadata: Iterable<readonly [key: string, value: string]> = [],
): Uint8Array<ArrayBuffer> {
  const list = [...tensors];
  const { bytes, header } = encodeSafetensorsHeader(list, metadata);
  const file = new Uint8Array(header.fileBytes);
  file.set(bytes);
  for (const [name, { data }] of list) {
    const { begin, end } = header.tensors.get(name)!;
    const from = asBytes(data);
    if (from.length !== end - begin) {
      throw new SafetensorsError(
        'SIZE_MISMATCH',
        `encodeSafetensors: expected ${end - begin} bytes for ${quote(name)}, found ${from.length}.`,
      );
    }
    file.set(from, begin);
  }
  return file;
}

// ---------------------------------------------------------------------------------------------------------------- the header's text

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const isDigit = (char: number): boolean => char >= 0x30 && char <= 0x39;

/** Reads the JSON of a header, and nothing but such JSON, from left to right. At the end of the text `charCodeAt` gives NaN. */
class HeaderScanner {
  readonly tensors = new Map<string, TensorInfo>();
  readonly metadata = new Map<string, string>();
  readonly #text: string;
  readonly #dataBegin: number;
  readonly #where: string;
  #at = 0;

  constructor(text: string, dataBegin: number, where: string) {
    this.#text = text;
    this.#dataBegin = dataBegin;
    this.#where = where;
  }

  header(): void {
    const first = this.#skipSpace();
    if (Number.isNaN(first)) {
      this.#fail('HEADER_EMPTY', 'a header', 'nothing but white space');
    }
    if (first !== OPEN_BRACE) {
      this.#fail('HEADER_NOT_OBJECT', 'a header that is a JSON object');
    }
    this.#object('the header', (name) => {
      if (name === METADATA) {
        this.#metadata();
      } else {
        this.tensors.set(name, this.#tensor(name));
      }
    });
    if (!Number.isNaN(this.#skipSpace())) {
      this.#fail('HEADER_TRAILING', 'only white space behind the header\'s last "}"');
    }
  }

  #metadata(): void {
    this.#require(OPEN_BRACE, 'FIELD_TYPE', `an object of strings for "${METADATA}"`);
    this.#object(`"${METADATA}"`, (key) => {
      this.#require(QUOTE, 'METADATA_NOT_STRING', `a string for ${quote(key)} in "${METADATA}"`);
      this.metadata.set(key, this.#string());
    });
  }

  #tensor(name: string): TensorInfo {
    let dtype: SafetensorsDtype | undefined;
    let shape: number[] | undefined;
    let offsets: number[] | undefined;
    this.#require(OPEN_BRACE, 'FIELD_TYPE', () => `an object for tensor ${quote(name)}`);
    const start = this.#at;
    this.#object('a tensor', (field, fieldAt) => {
      switch (field) {
        case 'dtype': {
          this.#require(QUOTE, 'FIELD_TYPE', () => `a string for "dtype" of ${quote(name)}`);
          const at = this.#at;
          const text = this.#string();
          if (dtypeBits(text) === undefined) {
            this.#fail('DTYPE_UNKNOWN', `one of ${Object.keys(DTYPE_BITS).join(' ')} for "dtype" of ${quote(name)}`, quote(text), at);
          }
          dtype = text as SafetensorsDtype;
          return;
        }
        case 'shape':
          shape = this.#integers(name, 'shape', MAX_RANK);
          return;
        case 'data_offsets': {
          const at = this.#at;
          offsets = this.#integers(name, 'data_offsets', 2);
          if (offsets.length < 2) {
            this.#fail('OFFSETS_ARITY', `"data_offsets" of ${quote(name)} to have 2 numbers`, `${offsets.length}`, at);
          }
          return;
        }
        default:
          this.#fail('UNKNOWN_FIELD', `only "dtype", "shape" and "data_offsets" in ${quote(name)}`, quote(field), fieldAt);
      }
    });
    if (dtype === undefined || shape === undefined || offsets === undefined) {
      const field = dtype === undefined ? 'dtype' : shape === undefined ? 'shape' : 'data_offsets';
      this.#fail('MISSING_FIELD', `"dtype", "shape" and "data_offsets" in ${quote(name)}`, `no "${field}"`, start);
    }
    const [from, to] = offsets as [number, number];
    if (to < from) {
      this.#fail('OFFSETS_REVERSED', `"data_offsets" of ${quote(name)} in ascending order`, `[${from}, ${to}]`, start);
    }
    const byteLength = tensorBytes(dtype, shape, name, this.#where);
    if (byteLength !== to - from) {
      const size = `${byteLength} bytes for ${quote(name)} (${dtype} of shape ${showShape(shape)})`;
      this.#fail('SIZE_MISMATCH', size, `${to - from} (data_offsets [${from}, ${to}])`, start);
    }
    if (to > Number.MAX_SAFE_INTEGER - this.#dataBegin) {
      this.#fail('NUMBER_TOO_BIG', `an offset of at most 2^53 - 1 for ${quote(name)}`, `${to}`, start);
    }
    return { dtype, shape, begin: this.#dataBegin + from, end: this.#dataBegin + to };
  }

  /** Reads an object, at its `{`. Calls `member` at each value, for it to read. No two keys may be equal once unescaped. */
  #object(what: string, member: (key: string, keyAt: number) => void): void {
    const keys = new Set<string>();
    this.#at++;
    let next = this.#skipSpace();
    if (next === CLOSE_BRACE) {
      this.#at++;
      return;
    }
    for (;;) {
      if (next !== QUOTE) {
        this.#fail('HEADER_JSON', `a key in double quotes in ${what}`);
      }
      const keyAt = this.#at;
      const key = this.#string();
      if (keys.has(key)) {
        this.#fail('DUPLICATE_KEY', `every key of ${what} once`, `${quote(key)} again`, keyAt);
      }
      keys.add(key);
      if (this.#skipSpace() !== COLON) {
        this.#fail('HEADER_JSON', `":" behind the key ${quote(key)}`);
      }
      this.#at++;
      this.#skipSpace();
      member(key, keyAt);
      next = this.#skipSpace();
      if (next === CLOSE_BRACE) {
        this.#at++;
        return;
      }
      if (next !== COMMA) {
        this.#fail('HEADER_JSON', `"," or "}" in ${what}`);
      }
      this.#at++;
      next = this.#skipSpace();
    }
  }

  /** Reads an array of at most `most` unsigned integers. */
  #integers(name: string, field: string, most: number): number[] {
    this.#require(OPEN_BRACKET, 'FIELD_TYPE', () => `an array of integers for "${field}" of ${quote(name)}`);
    const values: number[] = [];
    this.#at++;
    if (this.#skipSpace() === CLOSE_BRACKET) {
      this.#at++;
      return values;
    }
    for (;;) {
      if (values.length === most) {
        this.#fail('FIELD_TYPE', `at most ${most} numbers in "${field}" of ${quote(name)}`, 'more');
      }
      values.push(this.#integer(name, field));
      const next = this.#skipSpace();
      if (next === CLOSE_BRACKET) {
        this.#at++;
        return values;
      }
      if (next !== COMMA) {
        this.#fail('HEADER_JSON', `"," or "]" in "${field}" of ${quote(name)}`);
      }
      this.#at++;
      this.#skipSpace();
    }
  }

  /** Reads 0 or [1-9][0-9]*, by its text: 2.0, 2e0 and -0 are integers to JSON.parse, and not to the format. */
  #integer(name: string, field: string): number {
    const start = this.#at;
    const first = this.#text.charCodeAt(start);
    if (!isDigit(first)) {
      const absent = Number.isNaN(first) || first === COMMA || first === CLOSE_BRACKET || first === CLOSE_BRACE || first === COLON;
      this.#fail(absent ? 'HEADER_JSON' : 'NUMBER_NOT_UINT', `an unsigned integer in "${field}" of ${quote(name)}`);
    }
    let next = first;
    while (isDigit(next)) {
      next = this.#text.charCodeAt(++this.#at);
    }
    const digits = this.#text.slice(start, this.#at);
    if (first === 0x30 && digits.length > 1) {
      this.#fail('HEADER_JSON', `numbers without leading zeros in "${field}" of ${quote(name)}`, shorten(digits), start);
    }
    if (next === 0x2e || next === 0x65 || next === 0x45) {
      this.#fail('NUMBER_NOT_UINT', `an unsigned integer, without point or exponent, in "${field}" of ${quote(name)}`, undefined, start);
    }
    const value = Number(digits);
    if (!Number.isSafeInteger(value)) {
      this.#fail('NUMBER_TOO_BIG', `at most 2^53 - 1 in "${field}" of ${quote(name)}`, shorten(digits), start);
    }
    return value;
  }

  /** Reads a string, at its opening quote. */
  #string(): string {
    const opening = this.#at;
    let value = '';
    let start = ++this.#at;
    for (;;) {
      const char = this.#text.charCodeAt(this.#at);
      if (char === QUOTE) {
        value += this.#text.slice(start, this.#at++);
        return value;
      }
      if (char === BACKSLASH) {
        value += this.#text.slice(start, this.#at);
        value += this.#escape();
        start = this.#at;
      } else if (char >= 0x20) {
        this.#at++;
      } else if (Number.isNaN(char)) {
        this.#fail('HEADER_JSON', 'a closing quote', 'the end of the header', opening);
      } else {
        this.#fail('HEADER_JSON', 'control characters in strings to be escaped');
      }
    }
  }

  /** Reads an escape, at its backslash; both halves of a pair of surrogates at once. */
  #escape(): string {
    const start = this.#at;
    const letter = this.#text[start + 1];
    if (letter !== 'u') {
      const char = letter === undefined ? undefined : ESCAPES.get(letter);
      if (char === undefined) {
        this.#fail('HEADER_JSON', 'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u', quote(this.#text.slice(start, start + 2)));
      }
      this.#at += 2;
      return char;
    }
    const unit = this.#hex();
    if (unit < 0xd800 || unit > 0xdfff) {
      return String.fromCharCode(unit);
    }
    // A lone half is no character: it cannot be written as UTF-8, so two names that differ in it would be one elsewhere.
    if (unit < 0xdc00 && this.#text.startsWith('\\u', this.#at)) {
      const low = this.#hex();
      if (low >= 0xdc00 && low <= 0xdfff) {
        return String.fromCharCode(unit, low);
      }
    }
    this.#fail('HEADER_JSON', 'both halves of a pair of surrogates', quote(this.#text.slice(start, start + 6)), start);
  }

  /** Reads \uXXXX. */
  #hex(): number {
    const digits = this.#text.slice(this.#at + 2, this.#at + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) {
      this.#fail('HEADER_JSON', 'four hexadecimal digits behind \\u', quote(digits));
    }
    this.#at += 6;
    return parseInt(digits, 16);
  }

  /** Checks that the value here begins with `char`. Another JSON value is an error of type, with `code`; anything else is not JSON. */
  #require(char: number, code: SafetensorsCode, expected: string | (() => string)): void {
    const found = this.#text.charCodeAt(this.#at);
    if (found !== char) {
      const isValue = isDigit(found) || '{["-tfn'.includes(this.#text[this.#at] ?? ' ');
      this.#fail(isValue ? code : 'HEADER_JSON', typeof expected === 'string' ? expected : expected());
    }
  }

  /** Goes to the next character that is not white space as JSON has it, and returns it. */
  #skipSpace(): number {
    for (;;) {
      const char = this.#text.charCodeAt(this.#at);
      if (char !== 0x20 && char !== 0x0a && char !== 0x0d && char !== 0x09) {
        return char;
      }
      this.#at++;
    }
  }

  #fail(code: SafetensorsCode, expected: string, found = this.#found(), at = this.#at): never {
    const byte = PREFIX_BYTES + new TextEncoder().encode(this.#text.slice(0, at)).length;
    throw new SafetensorsError(code, `${this.#where}: expected ${expected}, found ${found} at byte ${byte}. ${REWRITE}`);
  }

  #found(): string {
    const rest = this.#text.slice(this.#at, this.#at + 24);
    return rest === '' ? 'the end of the header' : quote(rest);
  }
}

const ESCAPES: ReadonlyMap<string, string> = /* @__PURE__ */ new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

// ------------------------------------------------------------------------------------------------------------------------ sizes

function knownBits(dtype: string, name: string, where: string): number {
  const bits = dtypeBits(dtype);
  if (bits === undefined) {
    throw new SafetensorsError(
      'DTYPE_UNKNOWN',
      `${where}: expected one of ${Object.keys(DTYPE_BITS).join(' ')} for ${quote(name)}, found ${quote(String(dtype))}.`,
    );
  }
  return bits;
}

/** The size of a tensor in bytes. */
function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[], name: string, where: string): number {
  const width = knownBits(dtype, name, where);
  // The product of two safe integers is exact, or it is above 2^53 - 1 and stays there when rounded: no BigInt is needed.
  // Zeros are left out of it, so that [0, 2^52, 4] and [2^52, 4, 0] share a verdict.
  let bits = width;
  let empty = false;
  for (const size of shape) {
    if (size === 0) {
      empty = true;
    } else {
      bits *= size;
      if (bits > Number.MAX_SAFE_INTEGER) {
        throw new SafetensorsError(
          'NUMBER_TOO_BIG',
          `${where}: expected at most 2^53 - 1 bits in ${quote(name)}, found more (${dtype} of shape ${showShape(shape)}). ${REWRITE}`,
        );
      }
    }
  }
  if (empty) {
    return 0;
  }
  if (bits % 8 !== 0) {
    throw new SafetensorsError(
      'SUBBYTE_MISALIGNED',
      `${where}: expected whole bytes in ${quote(name)}, found ${bits} bits (${dtype} of shape ${showShape(shape)}). ${REWRITE}`,
    );
  }
  return bits / 8;
}

/** Checks that the tensors follow one another from `dataBegin` on, in whatever order the header names them. Returns where they end. */
function checkLayout(tensors: ReadonlyMap<string, TensorInfo>, dataBegin: number, where: string): number {
  let at = dataBegin;
  let previous = 'the header';
  for (const [name, { begin, end }] of inFileOrder(tensors)) {
    if (begin !== at) {
      const [code, what] = begin > at ? (['OFFSETS_HOLE', 'a hole'] as const) : (['OFFSETS_OVERLAP', 'an overlap'] as const);
      throw new SafetensorsError(
        code,
        `${where}: expected ${quote(name)} to begin at byte ${at - dataBegin} of the data, behind ${previous}, found ${begin - dataBegin}: ` +
          `${what} of ${Math.abs(begin - at)} bytes. ${REWRITE}`,
      );
    }
    at = end;
    previous = quote(name);
  }
  return at;
}

/**
 * The tensors in the order of their bytes. Empty ones come before the tensor that begins where they lie.
 */
export function inFileOrder(tensors: ReadonlyMap<string, TensorInfo>): [name: string, info: TensorInfo][] {
  return [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
}

function checkFileBytes(tensors: ReadonlyMap<string, TensorInfo>, expected: number, found: number, where: string): void {
  if (found > expected) {
    throw new SafetensorsError(
      'TRAILING_BYTES',
      `${where}: expected ${expected} bytes, found ${found}: ${found - expected} bytes behind the last tensor belong to nothing. ${REWRITE}`,
    );
  }
  if (found < expected) {
    const cut = inFileOrder(tensors).find(([, { end }]) => end > found)!;
    throw new SafetensorsError(
      'DATA_TRUNCATED',
      `${where}: expected ${expected} bytes, found ${found}: the file ends before tensor ${quote(cut[0])} does. Download it again.`,
    );
  }
}

// ------------------------------------------------------------------------------------------------------------------------ bytes

function asBytes(bytes: ArrayBufferView | ArrayBufferLike): Uint8Array {
  if (bytes instanceof Uint8Array) {
    return bytes;
  }
  if (ArrayBuffer.isView(bytes)) {
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  // By its tag, so that a buffer from a frame will do; anything else (a Blob, a Response) would silently become an empty array.
  const tag = Object.prototype.toString.call(bytes);
  if (tag === '[object ArrayBuffer]' || tag === '[object SharedArrayBuffer]') {
    return new Uint8Array(bytes);
  }
  throw new TypeError(
    `safetensors: expected a Uint8Array or an ArrayBuffer, found ${tag}. Of a Blob or a Response, await arrayBuffer() first.`,
  );
}

function uint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function exactLength(first8: Uint8Array): bigint {
  return (BigInt(uint32(first8, 4)) << 32n) | BigInt(uint32(first8, 0));
}

/** Bytes as text, strictly: by default a decoder replaces what is not UTF-8, and swallows a byte order mark. */
const utf8 = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(file: Uint8Array, dataBegin: number, where: string): string {
  // Browsers do not decode shared memory, which another thread could change meanwhile: take a copy.
  const json = file.buffer instanceof ArrayBuffer ? file.subarray(PREFIX_BYTES, dataBegin) : file.slice(PREFIX_BYTES, dataBegin);
  try {
    return utf8.decode(json);
  } catch (cause) {
    throw new SafetensorsError(
      'HEADER_UTF8',
      `${where}: expected UTF-8, found something else at byte ${PREFIX_BYTES + notUtf8(json)}. ${REWRITE}`,
      {
        cause,
      },
    );
  }
}

/** Where UTF-8 ends: the longest beginning that a decoder takes, found by halving what is left. */
function notUtf8(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    let start = good;
    while (start > 0 && (bytes[start]! & 0xc0) === 0x80) {
      start--; // back to the first byte of a character
    }
    try {
      // A decoder of its own each time: `stream` lets the bytes end inside a character, and keeps what it has seen of that.
      new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(start, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

/** What a file with an impossible header is, judged by its first 8 bytes, and what to do then. */
function whatElse(first8: Uint8Array, otherwise = REWRITE): string {
  const text = String.fromCharCode(...first8.subarray(0, PREFIX_BYTES));
  const start = text.replace(/^\xef\xbb\xbf/, '').trimStart();
  if (start.startsWith('<')) {
    return 'This is a page (HTML or XML), not a safetensors file: the address is wrong, or the server asks for a login.';
  }
  if (text === 'version ') {
    return 'This is a git-lfs pointer, not the file it points to: run "git lfs pull", or download the file itself.';
  }
  if (text.startsWith('PK\x03\x04')) {
    return 'This is a zip archive, as PyTorch writes (.pth, .pt, .bin): convert it with safetensors.torch.save_file.';
  }
  if (text.startsWith('\x80') && text.charCodeAt(1) <= 5) {
    return 'This is a Python pickle, as PyTorch writes (.pth, .pt): convert it with safetensors.torch.save_file.';
  }
  if (text.startsWith('GGUF')) {
    return 'This is a GGUF file, not a safetensors file: download the checkpoint in safetensors form.';
  }
  if (text.startsWith('\x89HDF')) {
    return 'This is an HDF5 file, not a safetensors file: download the checkpoint in safetensors form.';
  }
  if (text.startsWith('\x1f\x8b')) {
    return 'This is a gzip file: decompress it first.';
  }
  if (start.startsWith('{')) {
    return 'This is JSON, perhaps a config.json or an index of shards: load the .safetensors file itself.';
  }
  if (/^[\x20-\x7e\s]{8}$/.test(text)) {
    return `The file begins with the text ${quote(text)}: it is not a safetensors file, but perhaps a server's message.`;
  }
  return otherwise;
}

// --------------------------------------------------------------------------------------------------------------------- messages

/** Names come from the file: of any length, with any character in them. */
function quote(text: string): string {
  return JSON.stringify(shorten(text));
}

function shorten(text: string): string {
  return text.length > 100 ? `${text.slice(0, 80)}… (${text.length} characters)` : text;
}

function showShape(shape: readonly number[]): string {
  return `[${shorten(shape.join(', '))}]`;
}
