// How alike pictures are: node compare.mjs PICTURE PICTURE…
import { cosineSimilarity, DINOv2 } from 'dinov2-webgpu/node';

const model = await DINOv2.fromPretrained('facebook/dinov2-small');
const [first, ...others] = await model.embed(process.argv.slice(2));
for (const other of others) console.log(cosineSimilarity(first, other).toFixed(3));
model.dispose();
