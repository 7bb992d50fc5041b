// node scripts/make-checkpoint.mjs small FOLDER [--registers] [--seed N]
// Writes config.json and model.safetensors with weights by formula: a checkpoint of true size (small 88 MB … giant 4.5 GB), for tests and
// measurements that need a file. The weights mean nothing. It compiles the sources on the way, so no build is needed.
import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createServer } from 'vite';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { registers: { type: 'boolean', default: false }, seed: { type: 'string', default: '0' } },
});
const [size, folder] = positionals;
if (size === undefined || folder === undefined) {
  console.error('node scripts/make-checkpoint.mjs small|base|large|giant FOLDER [--registers] [--seed N]');
  process.exit(2);
}

const root = fileURLToPath(new URL('..', import.meta.url));
const server = await createServer({
  root,
  configFile: false,
  logLevel: 'error',
  appType: 'custom',
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
});
try {
  const { configOf, configJson } = await server.ssrLoadModule('/src/model/config.ts');
  const { parameters } = await server.ssrLoadModule('/src/model/parameters.ts');
  const { huggingFaceTensors } = await server.ssrLoadModule('/src/checkpoint/names.ts');
  const { syntheticStream } = await server.ssrLoadModule('/src/checkpoint/synthetic.ts');
  const { encodeSafetensorsHeader } = await server.ssrLoadModule('/src/checkpoint/safetensors.ts');

  const config = configOf(size, { registers: values.registers });
  const { header, pieces } = syntheticStream(huggingFaceTensors(parameters(config)), { seed: Number(values.seed) });

  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(configJson(config), undefined, 2)}\n`);
  const path = join(folder, 'model.safetensors');
  const file = await open(path, 'w');
  try {
    await file.writeFile(encodeSafetensorsHeader(header.tensors, header.metadata).bytes);
    for await (const { bytes } of pieces) await file.writeFile(bytes);
  } finally {
    await file.close();
  }
  console.log(`${path}: ${header.tensors.size} tensors, ${header.fileBytes} bytes`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await server.close();
}
