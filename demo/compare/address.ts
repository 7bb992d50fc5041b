/** The state of the page in its address, so that a link opens the same pictures, tab and patch. */
import type { PatchPosition, PatchRegion } from '../../src/index.js';
import type { Size } from '../shared/modelChoice.js';
import type { Side } from './frame.js';

export const tabs = ['matches', 'similarity', 'pca'] as const;
export type TabName = (typeof tabs)[number];

/** The longer side of a picture in pixels for the model. */
export const inputs = [224, 336, 448, 518] as const;
export type Input = (typeof inputs)[number];

/** A patch of one of the pictures. */
export interface SidePatch extends PatchPosition {
  readonly side: Side;
}

export interface Address {
  /** Names of the samples. */
  readonly a?: string | undefined;
  readonly b?: string | undefined;
  readonly tab?: TabName | undefined;
  readonly size?: Size | undefined;
  readonly input?: Input | undefined;
  /** Largest number of lines. */
  readonly count?: number | undefined;
  /** Lowest score of a line. */
  readonly least?: number | undefined;
  /** False: each patch of A is connected with its nearest patch, also if that one is nearer to another. */
  readonly mutual?: boolean | undefined;
  readonly patch?: SidePatch | undefined;
  /** The part of picture A whose matches are shown. */
  readonly region?: PatchRegion | undefined;
}

const among = <T extends string>(text: string | null, all: readonly T[]): T | undefined =>
  all.find((each) => each === text);

/** Reads the address. What the page does not know is left out. */
export function readAddress(search = location.search): Address {
  const given = new URLSearchParams(search);
  const number = (name: string, form: RegExp): number | undefined => {
    const text = given.get(name) ?? '';
    return form.test(text) ? Number(text) : undefined;
  };
  const [, side, row, col] = /^(a|b),(\d{1,3}),(\d{1,3})$/.exec(given.get('patch') ?? '') ?? [];
  const region = /^(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})$/.exec(given.get('region') ?? '');
  return {
    a: given.get('a') ?? undefined,
    b: given.get('b') ?? undefined,
    tab: among(given.get('tab'), tabs),
    size: among(given.get('size'), ['small', 'base', 'large']),
    input: inputs.find((each) => String(each) === given.get('input')),
    count: number('k', /^\d{1,3}$/),
    least: number('min', /^(0|1|0?\.\d{1,3})$/),
    mutual: given.get('mutual') === 'no' ? false : undefined,
    patch: side === undefined ? undefined : { side: side as Side, row: Number(row), col: Number(col) },
    region: region
      ? { row: Number(region[1]), col: Number(region[2]), rows: Number(region[3]), cols: Number(region[4]) }
      : undefined,
  };
}

/** Writes the state into the address, without a new entry in the browser's history. */
export function writeAddress({ a, b, tab, size, input, count, least, mutual, patch, region }: Address): void {
  const parts = Object.entries({
    a,
    b,
    tab,
    size,
    input,
    k: count,
    min: least || undefined,
    mutual: mutual === false ? 'no' : undefined,
    patch: patch && `${patch.side},${patch.row},${patch.col}`,
    region: region && `${region.row},${region.col},${region.rows},${region.cols}`,
  }).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]));
  const search = `?${parts.join('&').replaceAll('%2C', ',')}`;
  if (search !== location.search) history.replaceState(history.state, '', search);
}
