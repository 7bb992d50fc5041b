/** The state of the page in its address, so that a link opens the same mode, size and picks. */
import type { Size } from '../shared/modelChoice.js';

export const tabs = ['pca', 'similarity', 'segments', 'tracking'] as const;
export type TabName = (typeof tabs)[number];

/** Longest side of a frame for the model, in pixels. */
export const sides = [112, 224, 322, 448, 518] as const;
export type Side = (typeof sides)[number];

/** A picked point of the picture. */
export interface Pick {
  /** Shares of the width and the height of the picture, 0 to 1. */
  readonly x: number;
  readonly y: number;
  /** False: a part that is not of the object. */
  readonly on: boolean;
}

export interface Address {
  readonly tab?: TabName | undefined;
  readonly size?: Size | undefined;
  readonly side?: Side | undefined;
  readonly opacity?: number | undefined;
  readonly crisp?: boolean | undefined;
  readonly region?: number | undefined;
  /** Applied to the first frame. */
  readonly picks?: readonly Pick[] | undefined;
}

const MOST_PICKS = 32;

const picksIn = (text: string | null, on: boolean): Pick[] =>
  Array.from((text ?? '').matchAll(/(\d{1,2}),(\d{1,2})(?!\d)/g), ([, x, y]) => ({
    x: Number(x) / 100,
    y: Number(y) / 100,
    on,
  })).slice(0, MOST_PICKS);

/** Reads the address. What the page does not know is left out. */
export function readAddress(search = location.search): Address {
  const given = new URLSearchParams(search);
  const number = (name: string): number | undefined => {
    const text = given.get(name) ?? '';
    return /^\d{1,3}$/.test(text) ? Number(text) : undefined;
  };
  return {
    tab: tabs.find((each) => each === given.get('tab')),
    size: (['small', 'base', 'large'] as const).find((each) => each === given.get('size')),
    side: sides.find((each) => each === number('side')),
    opacity: Math.min(100, number('opacity') ?? 80),
    crisp: given.has('crisp'),
    region: [1, 3, 5].find((each) => each === number('region')),
    picks: [...picksIn(given.get('on'), true), ...picksIn(given.get('off'), false)],
  };
}

/** Writes the state into the address, without a new entry in the browser's history. */
export function writeAddress({ picks = [], tab, size, side, opacity, crisp, region }: Address): void {
  const percent = (share: number): number => Math.min(99, Math.max(0, Math.round(share * 100)));
  const picksOf = (kind: boolean): string | undefined =>
    picks
      .filter(({ on }) => on === kind)
      .map(({ x, y }) => `${percent(x)},${percent(y)}`)
      .join(';') || undefined;
  const parts = Object.entries({
    tab,
    size,
    side,
    opacity: opacity === 80 ? undefined : opacity,
    crisp: crisp ? 'yes' : undefined,
    region: tab === 'tracking' ? region : undefined,
    on: picksOf(true),
    off: picksOf(false),
  }).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
  const search = `?${parts.join('&')}`;
  if (search !== location.search) history.replaceState(history.state, '', search);
}
