/** Result URLs, in every shape that a product was seen or documented to answer with. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { expiresAt, IMAGES_MAX, readResults } from '../../../src/upstream/aidge/results.ts'

const A = 'http://bkt.oss.example/a%2Fb.png?Expires=2735689600&Signature=x%2B%3D'
const B = 'https://cdn.example/b,c.png'
const C = 'https://cdn.example/c.png'

function urlsOf(data: unknown): readonly string[] {
  return readResults(data).images.map(({ url }) => url)
}

describe('result URLs', () => {
  test.each<[string, unknown, readonly string[]]>([
    ['a list of items with url', { taskResult: [{ url: A, width: 1, height: 2 }, { url: B }] }, [A, B]],
    [
      'try-on: nested results with the garment beside',
      {
        taskResult: [{ taskResult: { result: { imageList: [{ imageUrl: A, clothes: C }] } }, taskStatus: 'finished' }],
      },
      [A],
    ],
    [
      'hands and feet: JSON text inside a string',
      {
        taskResult: [
          {
            usageMap: '{"usage":2}',
            taskResult: JSON.stringify({ data: { message: [], structData: { data: [A, B] } } }),
          },
        ],
      },
      [A, B],
    ],
    ['translation: result_image_url somewhere', { translation: { pages: [{ result_image_url: A }] } }, [A]],
    ['translation, synchronous twin', { imageUrl: A }, [A]],
    [
      'background: a list of URLs per item',
      { taskResult: [{ imageUrlList: [A, B] }, { imageUrlList: [C] }] },
      [A, B, C],
    ],
    ['the field table: imageUrlList as a string', { taskResult: [{ imageUrlList: B }] }, [B]],
    ['imageUrlList as JSON text', { imageUrlList: JSON.stringify([A, B]) }, [A, B]],
    ['imageUrlList as joined text', { imageUrlList: `${A},${B}` }, [A, B]],
    ['video', { videoUrl: A }, [A]],
    ['detection: booleans and a leaked class', { taskResult: [{ taskResult: { hasLogo: true, class: 'x.y.Z' } }] }, []],
    ['the whole result as JSON text', { taskResult: JSON.stringify([{ url: A }]) }, [A]],
    ['a result that is an object', { taskResult: { url: A } }, [A]],
    ['a result that is a list of URLs', { taskResult: [A, B] }, [A, B]],
    [
      'the shared query: Result as JSON text',
      { TaskId: 'x', Status: 'COMPLETED', Result: JSON.stringify({ url: A }) },
      [A],
    ],
    ['no data', null, []],
    ['an empty list', { taskResult: [] }, []],
  ])('are found in %s', (_name, data, urls) => {
    expect(urlsOf(data)).toEqual(urls)
  })

  test('are told once each, in the order of the answer', () => {
    expect(urlsOf({ taskResult: [{ url: B }, { url: A, imageUrl: B }, { imageUrlList: [C, A] }] })).toEqual([B, A, C])
  })

  test('carry the size that stands beside them, and no other', () => {
    const data = {
      width: 7,
      taskResult: [
        { url: A, width: 768, height: '1024' },
        { imageUrlList: [B], width: 'wide', height: -1 },
      ],
      videoUrl: C,
    }
    expect(readResults(data).images.map(({ width, height }) => [width, height])).toEqual([
      [768, 1024],
      [null, null],
      [7, null],
    ])
  })

  test('are http or https and nothing else', () => {
    const bad = [
      'javascript:alert(1)',
      'file:///etc/passwd',
      'data:image/png;base64,AA',
      '//cdn.example/x',
      'http://',
      '',
    ]
    const broken = [
      'https://h.example/\u0000',
      'https://h.example/\ufffd',
      'https://h.example/\ud800',
      ' https://h.example',
    ]
    const url = [...bad, ...broken, 'HTTPS://H.example/Ä', 42, true, null]
    expect(urlsOf({ taskResult: [{ url }] })).toEqual(['HTTPS://H.example/Ä'])
  })

  test('are never what was sent in', () => {
    const inputs = { clothes: [{ imageUrl: A }], inputImage: { url: A }, requestParams: JSON.stringify([{ url: A }]) }
    expect(urlsOf({ taskResult: [{ ...inputs, modelImage: A, imageUrl: B }] })).toEqual([B])
  })

  test('are at most a thousand', () => {
    const url = Array.from({ length: IMAGES_MAX + 500 }, (_, index) => `https://cdn.example/${index}.png`)
    expect(urlsOf({ taskResult: [{ url }] })).toEqual(url.slice(0, IMAGES_MAX))
  })

  test('below an absurd depth or behind an absurd number of values are left alone, at once', () => {
    const deep: unknown = JSON.parse(`${'['.repeat(100_000)}{"url":"${A}"}${']'.repeat(100_000)}`)
    expect(urlsOf({ taskResult: deep })).toEqual([])
    expect(urlsOf({ taskResult: [...new Array<number>(1_000_000).fill(0), { url: A }] })).toEqual([])
  })

  test('reach the caller unchanged, whatever they contain', () => {
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true, withFragments: true }), (url) => {
        expect(urlsOf({ taskResult: [{ url }] })).toEqual([url])
      }),
    )
  })
})

describe('failed items', () => {
  test.each<[unknown, number]>([
    [{ taskStatus: 'finished', taskResult: [{ taskStatus: 'finished' }, { taskStatus: 'failed' }] }, 1],
    [{ taskStatus: 'failed', taskResult: [{ taskStatus: 'FAILED', taskResult: { taskStatus: 'failed' } }] }, 1],
    [{ taskStatus: 'failed' }, 0],
    [{ taskStatus: 'finished', taskResult: { taskStatus: 'failed' } }, 1],
    [{ taskResult: JSON.stringify([{ taskStatus: 'failed' }, { taskStatus: 'canceled' }]) }, 2],
  ])('in %j: %i', (data, count) => {
    expect(readResults(data).failedItemCount).toBe(count)
  })
})

describe('the end of a signed URL', () => {
  test.each<[string, number | null]>([
    [A, 2_735_689_600_000],
    ['https://h.example/a?security-token=t&expires=1780000000&Signature=y', 1_780_000_000_000],
    ['https://h.example/a?X-Amz-Date=20240626T143842Z&X-Amz-Expires=3600', Date.UTC(2024, 5, 26, 15, 38, 42)],
    ['https://h.example/a?x-oss-date=20240626T143842Z&x-oss-expires=60#x', Date.UTC(2024, 5, 26, 14, 39, 42)],
    ['https://h.example/a?X-Amz-Date=20241326T143842Z&X-Amz-Expires=3600', null],
    ['https://h.example/a?X-Amz-Expires=3600', null],
    ['https://h.example/a?Expires=soon', null],
    ['https://h.example/a?Expires=-5', null],
    ['https://h.example/a?Expires=99999999999999999999', null],
    ['https://h.example/a?Expires=1&b?c&EXPIRES=1780000000&d', 1_780_000_000_000],
    ['https://h.example/a?not-expires=1780000000', null],
    ['https://h.example/a#?Expires=1780000000', null],
    ['https://h.example/Expires=1780000000', null],
    ['https://h.example/a', null],
  ])('%s is %s', (url, at) => {
    expect(expiresAt(url)).toBe(at)
  })
})
