/**
 * Builds that the files of a run share: the first that wants one makes it, and each has a copy of its own.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the builds of this run are: for the demo's project. */
    readonly builds: string;
    /** test/full.ts, for the browser's, whose files have no environment. */
    readonly full: boolean;
  }
}

const root = fileURLToPath(new URL('..', import.meta.url));

/** Vitest's, before the first file of the project; what it gives is called after the last. */
export function setup({ provide }: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'builds-'));
  provide('builds', folder);
  return () => rmSync(folder, { recursive: true, force: true });
}

/** Puts what `vite build --mode …` makes into a folder, beside what is there. */
export async function putBuild(mode: 'library' | 'tools' | 'demo', into: string): Promise<void> {
  const folder = join(inject('builds'), mode);
  const outDir = join(folder, 'out');
  const [done, failed] = [join(folder, 'done'), join(folder, 'failed')];
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    try {
      await build({
        root,
        mode,
        configFile: join(root, 'vite.config.ts'),
        logLevel: 'error',
        build: { outDir, emptyOutDir: true },
      });
    } catch (error) {
      writeFileSync(failed, '');
      throw error;
    }
    writeFileSync(done, '');
  }
  while (!existsSync(done)) {
    if (existsSync(failed))
      throw new Error(`vite build --mode ${mode} failed: the file of tests that began it says why`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  cpSync(outDir, into, { recursive: true });
}
