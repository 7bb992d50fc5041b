/** What the pages keep between visits, in localStorage. A browser may allow a page no storage. */

/** Returns the stored text; undefined if nothing is stored or the browser allows no storage. */
export function recall(key: string): string | undefined {
  try {
    return localStorage.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Stores a text. `undefined` removes what is stored. */
export function remember(key: string, text: string | undefined): void {
  try {
    if (text === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // Without storage, the choice lasts until the page is closed.
  }
}
