/** The state of the page in its address, so that a link opens the same picture, tab and patch. */
import type { PatchPosition } from '../../src/index.js';
import type { Size } from '../shared/modelChoice.js';
import type { InputSize } from '../shared/picture.js';
import type { Point } from './segments.js';

export const tabs = ['pca', 'similarity', 'attention', 'segments'] as const;
export type TabName = (typeof tabs)[number];

export interface Address {
  /** Value of the sample's radio button. */
  readonly photo?: string | undefined;
  readonly tab?: TabName | undefined;
  readonly size?: Size | undefined;
  readonly input?: InputSize | undefined;
  /** The chosen patch, counted from 0. */
  readonly patch?: PatchPosition | undefined;
  readonly query?: 'cls' | 'patch' | undefined;
  /** Clicked patches that belong to the object, or do not. */
  readonly points?: readonly Point[] | undefined;
  /** A head counted from 0, or the mean of all heads. */
  readonly head?: number | 'mean' | undefined;
  /** Only the foreground is coloured. */
  readonly foreground?: boolean | undefined;
  /** Patches are drawn with smooth edges. */
  readonly smooth?: boolean | undefined;
  /** A block counted from 0. */
  readonly block?: number | undefined;
}

const among = <T extends string>(text: string | null, all: readonly T[]): T | undefined =>
  all.find((each) => each === text);

const pointsIn = (text: string | null, on: boolean): Point[] =>
  Array.from((text ?? '').matchAll(/(\d{1,3}),(\d{1,3})/g), ([, row, col]) => ({
    row: Number(row),
    col: Number(col),
    on,
  })).slice(0, 100);

/** Reads the address. What the page does not know is left out. */
export function readAddress(search = location.search): Address {
  const given = new URLSearchParams(search);
  const input = among(given.get('input'), ['crop', '224', '322', '448', '518']);
  const [, row, col] = /^(\d{1,3}),(\d{1,3})$/.exec(given.get('patch') ?? '') ?? [];
  const index = (name: string): number | undefined => {
    const text = given.get(name) ?? '';
    return /^\d{1,2}$/.test(text) ? Number(text) : undefined;
  };
  return {
    photo: given.get('photo') ?? undefined,
    tab: among(given.get('tab'), tabs),
    size: among(given.get('size'), ['small', 'base', 'large', 'giant']),
    input: input === undefined || input === 'crop' ? input : (Number(input) as InputSize),
    patch: row === undefined ? undefined : { row: Number(row), col: Number(col) },
    query: among(given.get('query'), ['cls', 'patch']),
    foreground: given.has('foreground'),
    smooth: given.has('smooth'),
    head: index('head'),
    block: index('block'),
    points: [...pointsIn(given.get('on'), true), ...pointsIn(given.get('off'), false)],
  };
}

/** Writes the state into the address, without a new entry in the browser's history. */
export function writeAddress({
  photo,
  tab,
  size,
  input,
  patch,
  query,
  head,
  block,
  foreground,
  smooth,
  points = [],
}: Address): void {
  const pointsOf = (side: boolean): string | undefined =>
    points
      .filter(({ on }) => on === side)
      .map(({ row, col }) => `${row},${col}`)
      .join(';') || undefined;
  const parts = Object.entries({
    photo,
    tab,
    size,
    input,
    patch: patch && `${patch.row},${patch.col}`,
    query: query === 'cls' ? undefined : query,
    head: head === 'mean' ? undefined : head,
    block,
    foreground: foreground ? 'yes' : undefined,
    smooth: smooth ? 'yes' : undefined,
    on: pointsOf(true),
    off: pointsOf(false),
  }).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]));
  const search =
    parts.length > 0
      ? `?${parts.join('&').replaceAll('%2C', ',').replaceAll('%3B', ';')}`
      : location.pathname;
  if (search !== location.search) history.replaceState(history.state, '', search);
}
