// Writes the published type declarations: one file for each entry of package.json, and `types.d.ts` with the
// declarations that several entries share. A class that two entries export must be declared once, because
// TypeScript treats two declarations with private fields as different types. Members marked `@internal` are
// left out.
// Usage: node scripts/build-types.mjs [folder]. Default: dist
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';

/** Source file of each entry of package.json. */
export const ENTRIES = {
  index: 'src/index.ts',
  safetensors: 'src/safetensors.ts',
  search: 'src/search.ts',
  worker: 'src/worker.ts',
  'worker-thread': 'src/worker/thread.ts',
};

export async function buildTypes(dir) {
  const bundle = await rolldown({
    input: ENTRIES,
    plugins: [dts({ emitDtsOnly: true, tsconfig: 'tsconfig.build.json', oxc: { stripInternal: true } })],
    external: /\.wgsl|^\?/,
  });
  const { output } = await bundle.generate({
    minifyInternalExports: false,
    chunkFileNames: '[name].d.ts',
    codeSplitting: { groups: [{ name: 'types', minShareCount: 2 }] },
  });
  mkdirSync(dir, { recursive: true });
  for (const { fileName, code } of output) writeFileSync(join(dir, fileName), onOwnLines(code));
}

/**
 * Moves doc comments from the end of a line of code to lines of their own. The bundler prints the doc
 * comment of an object type's member at the end of the line before the member, where TypeScript does not
 * assign the comment to the member.
 */
const onOwnLines = (code) => code.replace(/(?<=;) (\/\*\* .*? \*\/)$/gm, '\n  $1');

if (process.argv[1] === import.meta.filename) await buildTypes(process.argv[2] ?? 'dist');
