/** Reads and checks the fields of preprocessor_config.json and of timm's `pretrained_cfg`. */
import { ConfigError } from '../errors.js';
import { show } from '../platform/json.js';
import { RESAMPLES, type Resample } from './coefficients.js';
import { MAX_SIDE } from './geometry.js';
import { isUsable, type Normalization } from './normalization.js';

/** A value for each of red, green and blue. */
export type Triple = readonly [number, number, number];
/** An object of a JSON file. */
export type Json = Readonly<Record<string, unknown>>;

/**
 * Fields of timm, torchvision and other image processors that ask for other pixels. Python ignores them if the
 * class of the file does not read them, so they count only in a file that names no class: such a file may come
 * from another library.
 */
const FOREIGN = [
  'mean',
  'std',
  'offset',
  'input_size',
  'interpolation',
  'crop_pct',
  'crop_mode',
  'channel_order',
  'do_flip_channel_order',
  'transforms',
];

/** Combinations of keys that transformers accepts in the object of a size. */
const SIZE_KEYS = [
  'height,width',
  'shortest_edge',
  'longest_edge,shortest_edge',
  'longest_edge',
  'max_height,max_width',
  'max_pixels,min_pixels',
];

/** Returns whether a value is a side of an image in pixels. */
export const isSide = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SIDE;

/** Typed access to the fields of a JSON object. Each method checks its field. */
export class Fields {
  readonly #where: string;
  readonly #json: Json;

  constructor(where: string, json: Json) {
    this.#where = where;
    this.#json = json;
  }

  value(name: string): unknown {
    return this.#json[name];
  }

  has(name: string): boolean {
    return (this.#json[name] ?? null) !== null;
  }

  /** Refuses fields of other libraries. */
  refuseForeign(): void {
    const found = FOREIGN.find((name) => this.has(name) && this.value(name) !== false);
    if (found !== undefined)
      this.unsupported(found, 'no such field in a file without image_processor_type', this.value(found));
  }

  /** Returns a boolean field. A null or absent field gives false. */
  flag(name: string): boolean {
    const value = this.#json[name] ?? false;
    return typeof value === 'boolean' ? value : this.refuse(name, 'true or false');
  }

  number(name: string, expected: string, isRight: (value: number) => boolean): number {
    const value = this.#json[name];
    return typeof value === 'number' && Number.isFinite(value) && isRight(value)
      ? value
      : this.refuse(name, expected);
  }

  /** Returns a field of three finite numbers. With `takesOne`, a single number stands for all three. */
  triple(name: string, takesOne = true): Triple {
    const value = this.#json[name];
    const three = takesOne && typeof value === 'number' ? [value, value, value] : value;
    return Array.isArray(three) && three.length === 3 && three.every(Number.isFinite)
      ? (three as [number, number, number])
      : this.refuse(name, `three finite numbers${takesOne ? ', or one for all channels' : ''}`);
  }

  /**
   * Returns a size as an object with the keys of transformers. Returns undefined if the field is null or
   * absent.
   */
  size(name: string, square: boolean): Readonly<Record<string, number>> | undefined {
    const value = this.#json[name] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value === 'number' && isSide(value))
      return square ? { height: value, width: value } : { shortest_edge: value };
    if (Array.isArray(value) && value.length === 2 && value.every(isSide))
      return { height: value[0] as number, width: value[1] as number };
    const entries = typeof value === 'object' && !Array.isArray(value) ? Object.entries(value) : [];
    const keys = entries.map(([key]) => key).sort();
    const sides = entries.filter(([, side]) => side !== null);
    if (SIZE_KEYS.includes(keys.join()) && sides.every(([, side]) => isSide(side)))
      return Object.fromEntries(sides as [string, number][]);
    return this.refuse(
      name,
      `a whole number, [height, width], or an object of ${SIZE_KEYS.slice(0, 5).join(' or ')}, with sides from 1 to ${MAX_SIDE}`,
    );
  }

  /**
   * Returns the resampling filter. The field contains Pillow's number for the filter. The only accepted name
   * is `bilinear`, because Python resizes bilinearly for every name.
   */
  resample(): Resample {
    const value = this.#json['resample'];
    if (typeof value === 'string') {
      if (value.toLowerCase() === 'bilinear') return 'bilinear';
      this.refuse(
        'resample',
        'a number from 0 to 5 (nearest, lanczos, bilinear, bicubic, box, hamming; Python resizes bilinearly for every name)',
      );
    }
    return (
      (typeof value === 'number' ? RESAMPLES[value] : undefined) ??
      this.refuse('resample', 'a number from 0 to 5 (nearest, lanczos, bilinear, bicubic, box, hamming)')
    );
  }

  usable(normalization: Normalization): Normalization {
    if (isUsable(normalization)) return normalization;
    throw new ConfigError(
      'CONFIG_FIELD',
      `${this.#where}: expected a mean, a standard deviation and a rescale factor that give finite float32 values, found ${show(normalization)}. ${ADVICE}`,
    );
  }

  refuse(name: string, expected: string): never {
    throw new ConfigError(
      'CONFIG_FIELD',
      `${this.#where}: ${name}: expected ${expected}, found ${show(this.#json[name])}. ${ADVICE}`,
    );
  }

  unsupported(name: string, expected: string, found: unknown): never {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `${this.#where}: ${name}: expected ${expected}, found ${show(found)}. ${ADVICE}`,
    );
  }
}

const ADVICE = 'Correct the file, or replace it with the option preprocessor.';
