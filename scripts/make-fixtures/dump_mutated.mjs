// Writes the mutated files of test/image/pillow.fuzz.test.ts and test/checkpoint/rust.fuzz.test.ts into a folder.
//
//   node scripts/make-fixtures/dump_mutated.mjs FOLDER
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const server = await createServer({
  root: fileURLToPath(new URL('../../', import.meta.url)),
  server: { middlewareMode: true },
  logLevel: 'error',
});
const { mutatedFiles, ORACLE } = await server.ssrLoadModule('/test/image/mutated.ts');
for (const ending of ORACLE.endings) {
  const files = mutatedFiles(ending, ORACLE.seed);
  for (let i = 0; i < ORACLE.files; i++) writeFileSync(`${folder}/${i}.${ending}`, files.next().value);
}
const checkpoint = await server.ssrLoadModule('/test/checkpoint/mutated.ts');
const files = checkpoint.mutatedSafetensors(checkpoint.ORACLE.seed);
for (let i = 0; i < checkpoint.ORACLE.files; i++)
  writeFileSync(`${folder}/${i}.safetensors`, files.next().value);
await server.close();
