// The sources use nothing that a strict Content-Security-Policy or Trusted Types forbid, and the demo's pages have such
// a policy. Markup in a file name, a tensor name or a message can then never run.
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const filesIn = (folder: string, ending: RegExp): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name))
    .map((name) => `${folder}/${name}`);

const FORBIDDEN =
  /\beval\(|\bnew Function\b|\b(inner|outer)HTML\b|\binsertAdjacentHTML\b|\bdocument\.write|\bcreateContextualFragment\b|\bsetHTMLUnsafe\b|\bsrcdoc\b|\bset(Timeout|Interval)\(\s*['"`]|javascript:/;

test('no file makes code or markup from text', () => {
  const files = [...filesIn('src', /\.ts$/), ...filesIn('demo', /\.(ts|html)$/)];
  expect(files.length).toBeGreaterThan(200);
  expect(files.filter((file) => FORBIDDEN.test(readFileSync(file, 'utf8')))).toEqual([]);
});

const head = readFileSync('demo/shared/head.html', 'utf8');

// scripts/vite/shell.ts puts the common head into each page.
test.each(filesIn('demo', /index\.html$/))(
  '%s has a policy that blocks inline code and markup from text',
  (page) => {
    const html = readFileSync(page, 'utf8').replace('<!--shell:head-->', head);
    const [, policy = ''] = /Content-Security-Policy"\s+content="([^"]*)"/.exec(html) ?? [];
    const directives = new Map(
      policy.split(';').map((text) => {
        const [name, ...values] = text.trim().split(/\s+/);
        return [name!, values.join(' ')] as const;
      }),
    );
    expect(directives.get('default-src')).toBe("'self'");
    expect(directives.get('script-src')).toBe("'self' 'wasm-unsafe-eval'");
    expect(directives.get('object-src')).toBe("'none'");
    expect(directives.get('base-uri')).toBe("'none'");
    expect(directives.get('form-action')).toBe("'none'");
    expect(directives.get('require-trusted-types-for')).toBe("'script'");
    expect(html).not.toMatch(/\son[a-z]+=|<script(?![^>]*\bsrc=)/);
  },
);
