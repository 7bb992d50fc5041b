/** Vite plugin: inserts the common parts of the demo's pages, which are in demo/shared/*.html. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Plugin } from 'vite';

/** The demo's pages: name of the page in the header, and its folder in demo/. */
export const pages = { explore: '', compare: 'compare/', live: 'live/', search: 'search/', runs: 'runs/' };

/**
 * Replaces `<!--shell:PART-->` in a page by demo/shared/PART.html. In a part, `{{root}}` becomes the path to
 * the folder of the front page, `{{repository}}` the address of the repository, and `{{PAGE}}` marks the link
 * of the current page.
 */
export const shell: Plugin = {
  name: 'demo-shell',
  transformIndexHtml: {
    order: 'pre',
    async handler(html, { filename }) {
      const [, folder] = /\/demo\/(?:(.*\/))?index\.html$/.exec(filename) ?? [];
      const parts = html.match(/<!--shell:(\w+)-->/g);
      if (!parts) return html;
      const root = join(import.meta.dirname, '../..');
      const { repository } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
        repository: { url: string };
      };
      for (const part of new Set(parts)) {
        const name = part.slice('<!--shell:'.length, -'-->'.length);
        let text = await readFile(join(root, `demo/shared/${name}.html`), 'utf8');
        text = text
          .replaceAll('{{root}}', folder ? '../' : './')
          .replaceAll('{{repository}}', repository.url.replace(/^git\+|\.git$/g, ''));
        for (const [page, itsFolder] of Object.entries(pages))
          text = text.replaceAll(`{{${page}}}`, itsFolder === (folder ?? '') ? 'aria-current="page"' : '');
        html = html.replaceAll(part, () => text.trim());
      }
      return html;
    },
  },
};
