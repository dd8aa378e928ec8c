/**
 * The nine products of the fake Aidge: their paths, and the different shapes in which they give their results.
 *
 * Sources: the vendor's reference page of each product, and its published samples where the page has no sample. What
 * neither shows is marked "by analogy".
 */

export interface Product {
  readonly kind: string
  readonly submitPath: string
  readonly queryPath: string
  /** The names under which the query path takes the task id. */
  readonly idParameters: readonly string[]
  /** Whether a submit answers `data.taskId`; all but one product answer `data.result.taskId`. */
  readonly hasFlatSubmit: boolean
  /** Whether its answers come without `success`, `resCode` and `resMessage`. */
  readonly isBare: boolean
  readonly pictureSuffix: 'png' | 'mp4'
  /** The fields of `data` that hold the results. `hasFailedItem`: one more was wanted and has failed. */
  readonly results: (urls: readonly string[], hasFailedItem: boolean) => Readonly<Record<string, unknown>>
}

const TASK_ID = ['taskId'] as const
const IMAGE_SIDE = 768
const FAILED_ITEM = { taskStatus: 'failed', taskMessage: 'this item could not be generated' } as const

const COMMON = { idParameters: TASK_ID, hasFlatSubmit: false, isBare: false, pictureSuffix: 'png' } as const

export const VIRTUAL_MODEL: Product = {
  ...COMMON,
  kind: 'virtual-model-generation',
  submitPath: '/ai/virtual/model/generation/batch',
  queryPath: '/ai/virtual/model/generation/query',
  hasFlatSubmit: true,
  results: (urls, hasFailedItem) => ({
    taskResult: withFailed(
      urls.map((url) => ({ width: IMAGE_SIDE, url, height: IMAGE_SIDE })),
      hasFailedItem,
    ),
  }),
}

const TRYON = {
  ...COMMON,
  queryPath: '/ai/virtual/tryon-results',
  // The English page says task_id, the Chinese one taskId, of the same path.
  idParameters: ['task_id', 'taskId'],
  results: (urls: readonly string[], hasFailedItem: boolean) => ({
    taskResult: withFailed(
      urls.map((url) => ({
        taskStatus: 'finished',
        taskResult: { result: { imageList: [{ imageUrl: url, clothes: 'https://example.com/clothes.png' }] } },
      })),
      hasFailedItem,
    ),
  }),
} as const

/** Product 6's results are findings about a picture, not pictures; the Java class name is in the vendor's answer too. */
const FINDINGS = {
  class: 'com.example.sandbox.ImageDetectResult',
  hasWatermark: false,
  hasLogo: true,
  hasCharacter: false,
  hasNoobj: true,
  usage: 1,
} as const

export const PRODUCTS: readonly Product[] = [
  VIRTUAL_MODEL,
  { ...TRYON, kind: 'virtual-tryon', submitPath: '/ai/virtual/tryon' },
  { ...TRYON, kind: 'virtual-tryon-pro', submitPath: '/ai/virtual/tryon-pro' },
  {
    ...COMMON,
    kind: 'hand-foot-repair',
    submitPath: '/ai/hand-foot/repair',
    queryPath: '/ai/hand-foot/repair-results',
    isBare: true,
    results: (urls, hasFailedItem) => ({
      usage: 0,
      taskResult: withFailed(
        urls.map((url) => ({
          usage: 1,
          requestBizId: '',
          taskStatus: 'finished',
          usageMap: JSON.stringify({ usage: 1 }),
          taskResult: repairedText(url),
        })),
        hasFailedItem,
      ),
    }),
  },
  {
    ...COMMON,
    kind: 'image-translation-pro',
    submitPath: '/ai/image/translation_mllm/batch',
    queryPath: '/ai/image/translation_mllm/results',
    // The page names result_image_url without saying where in data; by analogy an item each.
    results: (urls, hasFailedItem) => ({
      taskResult: withFailed(
        urls.map((url) => ({ taskStatus: 'finished', result_image_url: url })),
        hasFailedItem,
      ),
    }),
  },
  {
    ...COMMON,
    kind: 'image-detection',
    submitPath: '/ai/image/detection/batch',
    queryPath: '/ai/image/detection/query',
    results: (urls, hasFailedItem) => ({
      taskResult: withFailed(
        urls.map(() => ({ taskStatus: 'finished', taskResult: FINDINGS })),
        hasFailedItem,
      ),
    }),
  },
  {
    ...COMMON,
    kind: 'background-generation',
    // By analogy: the submit page of this product could not be read.
    submitPath: '/ai/image/background/generation/batch',
    queryPath: '/ai/image/background/generation/query',
    results: (urls, hasFailedItem) => ({
      taskResult: withFailed(
        urls.length === 0
          ? []
          : [
              {
                taskStatus: 'finished',
                taskMessage: '',
                sceneTemplate: 'indoor',
                recordContent: '',
                imageUrlList: urls,
              },
            ],
        hasFailedItem,
      ),
    }),
  },
  video('video-removal', '/ai/video/removal'),
  video('video-translation', '/ai/video/translation'),
]

function video(kind: string, submitPath: string): Product {
  return {
    ...COMMON,
    kind,
    submitPath,
    queryPath: `${submitPath}/result`,
    pictureSuffix: 'mp4',
    results: ([url], hasFailedItem) => ({
      ...(url === undefined ? {} : { videoUrl: url }),
      ...(hasFailedItem ? { taskResult: [FAILED_ITEM] } : {}),
    }),
  }
}

function withFailed(items: readonly object[], hasFailedItem: boolean): readonly object[] {
  return hasFailedItem ? [...items.slice(0, -1), FAILED_ITEM] : items
}

/** Hands and feet come as JSON in a string inside the JSON. */
function repairedText(url: string): string {
  return JSON.stringify({
    data: { message: [], structData: { code: '200', data: [url], message: 'ok' }, success: true },
    requestId: 'sandbox',
  })
}

export type Route = { readonly product: Product; readonly action: 'submit' | 'query' }

/** By full path. Both try-ons share one query path; the first of them stands for it. */
export const ROUTES: ReadonlyMap<string, Route> = new Map(
  [...PRODUCTS].reverse().flatMap((product): [string, Route][] => [
    [`/rest${product.submitPath}`, { product, action: 'submit' }],
    [`/rest${product.queryPath}`, { product, action: 'query' }],
  ]),
)
