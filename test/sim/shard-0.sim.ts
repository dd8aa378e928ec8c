/** The first half of the seeds: `npm run test:sim`. */

import { hunt } from './hunt.ts'

hunt(0, 2)
