/** The common parts of the demo's pages, as the Vite plugin inserts them. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { pages, shell } from '../../scripts/vite/shell.ts';

const pathOf = (folder: string): string =>
  fileURLToPath(new URL(`../../demo/${folder}index.html`, import.meta.url));

async function built(folder: string): Promise<string> {
  const { handler } = shell.transformIndexHtml as unknown as {
    handler(html: string, context: { filename: string }): Promise<string>;
  };
  return handler(readFileSync(pathOf(folder), 'utf8'), { filename: pathOf(folder) });
}

it.each(Object.entries(pages).filter(([, folder]) => existsSync(pathOf(folder))))(
  'the header of %s links all pages, the repository, the docs and the paper, and marks the page',
  async (page, folder) => {
    const html = await built(folder);
    expect(html).not.toMatch(/<!--shell|\{\{/);
    const root = folder ? '../' : './';
    for (const [name, path] of Object.entries(pages)) {
      const link = new RegExp(`<a href="${root}${path}"\\s*(aria-current="page")?\\s*>`).exec(html)!;
      expect(link[1] !== undefined).toBe(name === page);
    }
    expect(html).toContain('href="https://github.com/dinov2-webgpu/dinov2-webgpu"');
    expect(html).toContain('href="https://github.com/dinov2-webgpu/dinov2-webgpu/tree/main/docs/guide"');
    expect(html).toContain('href="https://arxiv.org/abs/2304.07193"');
  },
);

it('every page has the same rules about scripts and requests', async () => {
  const rules = await Promise.all(
    Object.values(pages)
      .filter((folder) => existsSync(pathOf(folder)))
      .map(async (folder) => /Content-Security-Policy"\s+content="([^"]+)"/.exec(await built(folder))![1]),
  );
  expect(new Set(rules).size).toBe(1);
  expect(rules[0]).toContain("require-trusted-types-for 'script'");
});
