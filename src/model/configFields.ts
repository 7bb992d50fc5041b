/** Reads and checks the fields of a config.json. */
import { ConfigError } from '../errors.js';
import { show } from '../platform/json.js';

/** An object of a JSON file. */
export type Json = Readonly<Record<string, unknown>>;

/** Returns whether a value of a JSON file is an object. */
export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads fields and collects errors, so that `throwRefused` can report all errors in one message. */
export class Fields {
  readonly #json: Json;
  readonly #refused: { code: 'CONFIG_FIELD' | 'CONFIG_UNSUPPORTED'; field: string; text: string }[] = [];

  constructor(json: Json) {
    this.#json = json;
  }

  value(field: string): unknown {
    return Object.hasOwn(this.#json, field) ? this.#json[field] : undefined;
  }

  refuse(code: 'CONFIG_FIELD' | 'CONFIG_UNSUPPORTED', field: string, expected: string, found: string): void {
    this.#refused.push({ code, field, text: `${field}: expected ${expected}, found ${found}` });
  }

  /** Returns true if none of `fields` has been refused so far. */
  sound(...fields: string[]): boolean {
    return !this.#refused.some(({ field }) => fields.includes(field));
  }

  /** Reads a number from `least` to `most`. Returns `absent` if the field is missing or refused. */
  number(field: string, absent: number, least: number, most: number, integer = false): number {
    const value = this.value(field);
    if (value === undefined) return absent;
    if (typeof value === 'number' && value >= least && value <= most && (!integer || Number.isInteger(value)))
      return value;
    this.refuse(
      'CONFIG_FIELD',
      field,
      `${integer ? 'an integer' : 'a number'} from ${least} to ${most}`,
      show(value),
    );
    return absent;
  }

  integer(field: string, absent: number, least: number, most: number): number {
    return this.number(field, absent, least, most, true);
  }

  boolean(field: string, absent: boolean): boolean {
    const value = this.value(field);
    if (value === undefined) return absent;
    if (typeof value === 'boolean') return value;
    this.refuse('CONFIG_FIELD', field, 'true or false', show(value));
    return absent;
  }

  /** Reads a side length, written as one number or as [height, width]. Only squares are supported. */
  side(field: string, absent: number, least: number, most: number): number {
    const value = this.value(field);
    if (value === undefined) {
      if (absent >= least) return absent;
      this.refuse('CONFIG_FIELD', field, `at least ${least}`, `nothing (default ${absent})`);
      return absent;
    }
    const [height, width] =
      Array.isArray(value) && value.length === 2 ? (value as unknown[]) : [value, value];
    const valid = (side: unknown) =>
      typeof side === 'number' && Number.isInteger(side) && side >= least && side <= most;
    if (!valid(height) || !valid(width)) {
      this.refuse('CONFIG_FIELD', field, `an integer from ${least} to ${most}`, show(value));
    } else if (height !== width) {
      this.refuse('CONFIG_UNSUPPORTED', field, 'a square', show(value));
    } else {
      return height as number;
    }
    return absent;
  }

  /** Refuses every value except `expected`, for a field that has the same value in every DINOv2 model. */
  only(field: string, expected: number | boolean | string): void {
    const value = this.value(field);
    if (value !== undefined && value !== expected)
      this.refuse('CONFIG_UNSUPPORTED', field, show(expected), show(value));
  }

  /**
   * Reports all refused fields in one error.
   * @throws ConfigError, if a field has been refused
   */
  throwRefused(): void {
    if (this.#refused.length === 0) return;
    const code = this.#refused.some((refused) => refused.code === 'CONFIG_FIELD')
      ? 'CONFIG_FIELD'
      : 'CONFIG_UNSUPPORTED';
    const list = this.#refused.map(({ text }) => text).join('; ');
    const next =
      code === 'CONFIG_FIELD'
        ? 'Correct the file, or download it again from the repository of the weights.'
        : 'A model with this setting is not supported: no published DINOv2 has it.';
    throw new ConfigError(code, `config.json: ${list}. ${next}`);
  }
}
