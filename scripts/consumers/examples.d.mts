import type { Browser } from 'playwright';

export declare const EXAMPLES: Readonly<Record<string, RegExp>>;
export declare function tryExample(
  name: string,
  options: { tarball: string; browser: Browser; into: string; shots?: string },
): Promise<{ build?: string; page?: string; bytes?: number; gzipBytes?: number }>;
