/**
 * Scans the JSON of a safetensors header in one pass. The scanner is stricter than JSON.parse, and accepts
 * only the nesting that the format has.
 */
import { SafetensorsError } from '../errors.js';
import type { SafetensorsCode } from '../errors.js';
import {
  DTYPE_BITS,
  METADATA,
  MAX_RANK,
  PREFIX_BYTES,
  REWRITE,
  dtypeBits,
  quote,
  shorten,
  showShape,
  tensorBytes,
} from './format.js';
import type { SafetensorsDtype, TensorInfo } from './format.js';

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const isDigit = (char: number): boolean => char >= 0x30 && char <= 0x39;

/**
 * Reads the JSON of a header from left to right. At the end of the text `charCodeAt` returns NaN, which
 * equals no character.
 */
export class HeaderScanner {
  readonly tensors: Map<string, TensorInfo> = new Map();
  readonly metadata: Map<string, string> = new Map();
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
      this.#fail('HEADER_EMPTY', 'a JSON object as header', 'only white space');
    }
    if (first !== OPEN_BRACE) {
      this.#fail('HEADER_NOT_OBJECT', 'a JSON object as header');
    }
    this.#object('the header', (name) => {
      if (name === METADATA) {
        this.#metadata();
      } else {
        this.tensors.set(name, this.#tensor(name));
      }
    });
    if (!Number.isNaN(this.#skipSpace())) {
      this.#fail('HEADER_TRAILING', 'only white space behind the last "}" of the header');
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
            this.#fail(
              'DTYPE_UNKNOWN',
              `one of ${Object.keys(DTYPE_BITS).join(' ')} for "dtype" of ${quote(name)}`,
              quote(text),
              at,
            );
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
            this.#fail(
              'OFFSETS_ARITY',
              `"data_offsets" of ${quote(name)} to have 2 numbers`,
              `${offsets.length}`,
              at,
            );
          }
          return;
        }
        default:
          this.#fail(
            'UNKNOWN_FIELD',
            `only "dtype", "shape" and "data_offsets" in ${quote(name)}`,
            quote(field),
            fieldAt,
          );
      }
    });
    if (dtype === undefined || shape === undefined || offsets === undefined) {
      const field = dtype === undefined ? 'dtype' : shape === undefined ? 'shape' : 'data_offsets';
      this.#fail(
        'MISSING_FIELD',
        `"dtype", "shape" and "data_offsets" in ${quote(name)}`,
        `no "${field}"`,
        start,
      );
    }
    const [from, to] = offsets as [number, number];
    if (to < from) {
      this.#fail(
        'OFFSETS_REVERSED',
        `"data_offsets" of ${quote(name)} in ascending order`,
        `[${from}, ${to}]`,
        start,
      );
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

  /**
   * Reads an object; the position is at its `{`. At each value, calls `member`, which must read the value.
   * Two keys that are equal after unescaping are an error.
   */
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
        this.#fail('DUPLICATE_KEY', `every key of ${what} only once`, `the key ${quote(key)} again`, keyAt);
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

  /**
   * Reads an unsigned integer: 0 or [1-9][0-9]*. The format forbids 2.0, 2e0 and -0, which JSON.parse
   * accepts as integers.
   */
  #integer(name: string, field: string): number {
    const start = this.#at;
    const first = this.#text.charCodeAt(start);
    if (!isDigit(first)) {
      const absent =
        Number.isNaN(first) ||
        first === COMMA ||
        first === CLOSE_BRACKET ||
        first === CLOSE_BRACE ||
        first === COLON;
      this.#fail(
        absent ? 'HEADER_JSON' : 'NUMBER_NOT_UINT',
        `an unsigned integer in "${field}" of ${quote(name)}`,
      );
    }
    let next = first;
    while (isDigit(next)) {
      next = this.#text.charCodeAt(++this.#at);
    }
    const digits = this.#text.slice(start, this.#at);
    if (first === 0x30 && digits.length > 1) {
      this.#fail(
        'HEADER_JSON',
        `numbers without leading zeros in "${field}" of ${quote(name)}`,
        shorten(digits),
        start,
      );
    }
    if (next === 0x2e || next === 0x65 || next === 0x45) {
      this.#fail(
        'NUMBER_NOT_UINT',
        `an unsigned integer, without point or exponent, in "${field}" of ${quote(name)}`,
        undefined,
        start,
      );
    }
    const value = Number(digits);
    if (!Number.isSafeInteger(value)) {
      this.#fail(
        'NUMBER_TOO_BIG',
        `at most 2^53 - 1 in "${field}" of ${quote(name)}`,
        shorten(digits),
        start,
      );
    }
    return value;
  }

  /** Reads a string; the position is at its opening quote. */
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
        this.#fail('HEADER_JSON', 'control characters in strings as escape sequences');
      }
    }
  }

  /**
   * Reads an escape sequence; the position is at its backslash. Reads both halves of a surrogate pair at
   * once.
   */
  #escape(): string {
    const start = this.#at;
    const letter = this.#text[start + 1];
    if (letter !== 'u') {
      const char = letter === undefined ? undefined : ESCAPES.get(letter);
      if (char === undefined) {
        this.#fail(
          'HEADER_JSON',
          'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u',
          quote(this.#text.slice(start, start + 2)),
        );
      }
      this.#at += 2;
      return char;
    }
    const unit = this.#hex();
    if (unit < 0xd800 || unit > 0xdfff) {
      return String.fromCharCode(unit);
    }
    // A lone surrogate has no UTF-8 encoding: names that differ only in lone surrogates would become equal
    // in UTF-8.
    if (unit < 0xdc00 && this.#text.startsWith('\\u', this.#at)) {
      const low = this.#hex();
      if (low >= 0xdc00 && low <= 0xdfff) {
        return String.fromCharCode(unit, low);
      }
    }
    this.#fail(
      'HEADER_JSON',
      'both halves of a surrogate pair',
      quote(this.#text.slice(start, start + 6)),
      start,
    );
  }

  /** Reads the four hexadecimal digits of \uXXXX. */
  #hex(): number {
    const digits = this.#text.slice(this.#at + 2, this.#at + 6);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) {
      this.#fail('HEADER_JSON', 'four hexadecimal digits behind \\u', quote(digits));
    }
    this.#at += 6;
    return parseInt(digits, 16);
  }

  /**
   * Checks that the next JSON value begins with `char`. Otherwise throws an error: with `code` if the text
   * continues with a JSON value of a different type, with HEADER_JSON if it continues with no JSON value.
   */
  #require(char: number, code: SafetensorsCode, expected: string | (() => string)): void {
    const found = this.#text.charCodeAt(this.#at);
    if (found !== char) {
      const isValue = isDigit(found) || '{["-tfn'.includes(this.#text[this.#at] ?? ' ');
      this.#fail(isValue ? code : 'HEADER_JSON', typeof expected === 'string' ? expected : expected());
    }
  }

  /** Skips JSON white space, and returns the next character. */
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
    throw new SafetensorsError(
      code,
      `${this.#where}: expected ${expected}, found ${found} at byte ${byte}. ${REWRITE}`,
    );
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
