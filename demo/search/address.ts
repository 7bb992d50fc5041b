/** The state of the page in its address, so that a link opens the same view, photograph and box. */
import type { Part } from './drawing.js';

export const views = ['all', 'duplicates', 'groups', 'map'] as const;
export type ViewName = (typeof views)[number];

export interface Address {
  readonly view?: ViewName | undefined;
  /** Id of the photograph that is searched for. */
  readonly q?: string | undefined;
  /** The part of that photograph that is searched for. */
  readonly box?: Part | undefined;
  /** The threshold that the visitor has set for the results. */
  readonly from?: number | undefined;
  /** Least score of duplicates. */
  readonly likeness?: number | undefined;
  /** Number of groups. */
  readonly groups?: number | undefined;
}

function numberIn(text: string | null, least: number, most: number): number | undefined {
  const value = Number(text ?? NaN);
  return text !== null && text !== '' && value >= least && value <= most ? value : undefined;
}

/** Reads the address. What the page does not know is left out. */
export function readAddress(search: string = location.search): Address {
  const given = new URLSearchParams(search);
  const sides = (given.get('box') ?? '').split(',').map((side) => numberIn(side, 0, 100));
  const [left, top, width, height] = sides.map((side) => (side ?? NaN) / 100);
  const isBox =
    sides.length === 4 && left! + width! <= 1.001 && top! + height! <= 1.001 && width! * height! > 0;
  const q = given.get('q') ?? undefined;
  return {
    view: views.find((view) => view === given.get('view')),
    q,
    box: q !== undefined && isBox ? { left: left!, top: top!, width: width!, height: height! } : undefined,
    from: q === undefined ? undefined : numberIn(given.get('from'), -1, 1),
    likeness: numberIn(given.get('likeness'), 0.8, 0.995),
    groups: numberIn(given.get('groups'), 2, 24),
  };
}

const percent = (share: number): number => Number((100 * share).toFixed(2));

/** Writes an address as the part of a link that begins with `?`. The view `all` is left out. */
export function addressText({ view, q, box, from, likeness, groups }: Address): string {
  const values = {
    view: view === 'all' ? undefined : view,
    q,
    box: box && [box.left, box.top, box.width, box.height].map(percent).join(','),
    from,
    likeness,
    groups,
  };
  const parts = Object.entries(values).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [`${name}=${encodeURIComponent(value).replaceAll('%2C', ',').replaceAll('%2F', '/')}`],
  );
  return parts.length > 0 ? `?${parts.join('&')}` : '';
}

let current: Address = {};

/** The state that the address shows. */
export const address = (): Address => current;

/**
 * Changes the address.
 * @param isStep true to make an entry in the browser's history, so that Back returns to the former state
 */
export function changeAddress(change: Address, isStep = false): void {
  current = { ...current, ...change };
  const search = addressText(current);
  if (search === location.search) return;
  history[isStep ? 'pushState' : 'replaceState'](null, '', search === '' ? location.pathname : search);
}

/** Reads the address now, and calls `onChange` whenever the visitor goes back or forward. */
export function startAddress(onChange: (address: Address) => void): void {
  current = readAddress();
  addEventListener('popstate', () => {
    current = readAddress();
    onChange(current);
  });
}
