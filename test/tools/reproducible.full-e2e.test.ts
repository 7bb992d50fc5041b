/** Two builds of the library have the same bytes, so that anyone can compare the published files with a build. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { build } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));

test.each(['library', 'tools'])('%s: two builds in different folders', async (mode) => {
  const folders = [1, 2].map((build) => mkdtempSync(join(tmpdir(), `build-${build}-`)));
  try {
    for (const outDir of folders)
      await build({
        root,
        mode,
        configFile: join(root, 'vite.config.ts'),
        logLevel: 'error',
        build: { outDir, emptyOutDir: true },
      });
    const [first, second] = folders.map((folder) => readdirSync(folder, { recursive: true }).sort());
    expect(first!.length).toBeGreaterThan(mode === 'library' ? 100 : 0);
    expect(second).toEqual(first);
    const differing = first!.filter(
      (name) =>
        !readFileSync(join(folders[0]!, String(name))).equals(readFileSync(join(folders[1]!, String(name)))),
    );
    expect(differing).toEqual([]);
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
});
