/** The second half of the seeds: `npm run test:sim`. */

import { hunt } from './hunt.ts'

hunt(1, 2)
