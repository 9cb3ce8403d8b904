/** Before a platform's package is packed, in its folder: the addon and its notices are no part of the repository, and must be there. */
import { existsSync } from 'node:fs';
import path from 'node:path';

const absent = ['lft_native.node', 'NOTICE'].filter((file) => !existsSync(file));
if (absent.length > 0) {
  const arch = path.basename(process.cwd()).replace('linux-', '');
  console.error(`No ${absent.join(' and ')} in ${process.cwd()}: npm run build:native -- --static --arch ${arch}`);
  process.exitCode = 1;
}
