// Checks that every link of a built site leads to a file of it, and every fragment to an element.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

const decode = (text) => decodeURIComponent(text.replaceAll('&amp;', '&').replaceAll('&#39;', "'"));

/** @returns the numbers of pages and of links. @throws Error that lists the dead links */
export function checkLinks(folder, base) {
  const pages = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.html'));
  const ids = new Map();
  const idsOf = (path) => {
    if (!ids.has(path)) {
      const html = readFileSync(join(folder, path), 'utf8');
      ids.set(path, new Set([...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => decode(id))));
    }
    return ids.get(path);
  };
  const dead = [];
  let links = 0;
  for (const page of pages) {
    const html = readFileSync(join(folder, page), 'utf8');
    for (const [, raw] of html.matchAll(/<(?:a|link|img|script)\b[^>]*? (?:href|src)="([^"]*)"/g)) {
      if (/^(https?:|mailto:|data:)/.test(raw)) continue;
      links++;
      const [address, fragment] = decode(raw).split('#');
      const path = address.startsWith('/')
        ? address.startsWith(base)
          ? address.slice(base.length)
          : undefined
        : posix.join(posix.dirname(page), address || posix.basename(page));
      const file = path === undefined ? undefined : /(^|\/)$/.test(path) ? `${path}index.html` : path;
      if (file === undefined || !existsSync(join(folder, file))) dead.push(`${page}: ${raw}`);
      else if (fragment && file.endsWith('.html') && !idsOf(file).has(fragment)) dead.push(`${page}: ${raw}`);
    }
  }
  if (dead.length > 0) throw new Error(`${dead.length} dead links:\n${[...new Set(dead)].join('\n')}`);
  return { pages: pages.length, links };
}
