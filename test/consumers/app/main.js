import { run } from './run.js';

void run((name, text) => (document.getElementById(name).textContent = text));
