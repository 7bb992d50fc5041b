// Writes the published type declarations: one file for each entry of package.json, and `types.d.ts` with the
// declarations that several entries share. A class that two entries export must be declared once, because
// TypeScript treats two declarations with private fields as different types. Members marked `@internal` are
// left out.
// Usage: node scripts/build-types.mjs [folder]. Default: dist
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
  await bundle.write({
    dir,
    minifyInternalExports: false,
    chunkFileNames: '[name].d.ts',
    codeSplitting: { groups: [{ name: 'types', minShareCount: 2 }] },
  });
}

if (process.argv[1] === import.meta.filename) await buildTypes(process.argv[2] ?? 'dist');
