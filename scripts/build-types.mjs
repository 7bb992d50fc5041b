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
  node: 'src/node.ts',
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
  for (const { fileName, code } of output) {
    refuseUnknownGpuTypes(fileName, code);
    const head = fileName === 'types.d.ts' ? ENVIRONMENT : '';
    writeFileSync(join(dir, fileName), head + onOwnLines(code));
  }
}

/**
 * Declares what the `lib` of a user may lack, so that the declarations compile with any: `Symbol.dispose`, and
 * before TypeScript 6 the types of WebGPU. An empty interface merges with the full one of TypeScript's DOM
 * library or of @webgpu/types.
 */
const ENVIRONMENT = `/// <reference lib="esnext.disposable" />
declare global {
  interface GPUBuffer {}
  interface GPUCanvasContext {}
  interface GPUDevice {}
  interface GPUTexture {}
}
`;

/**
 * Throws if a declaration names a type of WebGPU that `ENVIRONMENT` does not declare: TypeScript 5.9 without
 * @webgpu/types could not compile it.
 */
function refuseUnknownGpuTypes(fileName, code) {
  const named = code.replace(/\/\*[^]*?\*\//g, '').match(/\bGPU[A-Z]\w*/g) ?? [];
  const unknown = named.filter((name) => !ENVIRONMENT.includes(`interface ${name} {}`));
  if (unknown.length > 0)
    throw new Error(`${fileName} names ${unknown.join(', ')}, which ENVIRONMENT in build-types.mjs lacks`);
}

/**
 * Moves doc comments from the end of a line of code to lines of their own. The bundler prints the doc
 * comment of an object type's member at the end of the line before the member, where TypeScript does not
 * assign the comment to the member.
 */
const onOwnLines = (code) => code.replace(/(?<=;) (\/\*\* .*? \*\/)$/gm, '\n  $1');

if (process.argv[1] === import.meta.filename) await buildTypes(process.argv[2] ?? 'dist');
