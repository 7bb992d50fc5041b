// The photographs of a folder that resemble a picture: node folder-search.mjs FOLDER PICTURE
import { DINOv2, EmbeddingIndex, ingest, modelIdentity } from 'dinov2-webgpu/node';

const [folder, picture] = process.argv.slice(2);
const model = await DINOv2.fromPretrained('facebook/dinov2-small'); // kept for the next run
const index = await EmbeddingIndex.open(
  { folder: './photographs.index' },
  { dim: model.config.embedDim, model: await modelIdentity(model) },
);
const { added, unchanged, failures } = await ingest(index, model, folder).finished; // only what is new
console.log(`${added} added, ${unchanged} unchanged`);
for (const { id, error } of failures) console.error(`${id}: ${error.message}`);

const hits = await index.search(await model.embed(picture), { topK: 5 });
for (const { id, score } of hits) console.log(score.toFixed(3), id);
index.dispose();
model.dispose();
