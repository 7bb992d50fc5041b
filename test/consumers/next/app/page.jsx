'use client';
import { useEffect, useState } from 'react';
import { run } from '../run.js';

export default function Page() {
  const [results, setResults] = useState({});
  useEffect(() => void run((name, text) => setResults((others) => ({ ...others, [name]: text }))), []);
  return (
    <>
      <p id="page">{results.page}</p>
      <p id="worker">{results.worker}</p>
    </>
  );
}
