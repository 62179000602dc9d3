"""What became of each service with the bare decorator of 0.4.0, as it was found: frozen."""

from __future__ import annotations

_OUTCOMES = {
    "right": """
        Anomalies Caption ChatGreedy ChatId Classify ClassifyTopK ClipBatch ClipEither ClipExif
        ClipFeatures ClipHelpers ClipPixels ClipTensors ClipUpload CountingEncode Depth
        DetectDrawnLater DetectFrames DetectLanguage DetectPadded DetectRows DetectThreshold
        EmbedAsync EmbedBase64 EmbedBatch EmbedBuffer EmbedCounted EmbedEncodings EmbedHalf
        EmbedInCachedLoop EmbedInOverlap EmbedInstructed EmbedInt8 EmbedList EmbedOne EmbedOpenAI
        EmbedOptions EmbedRefusing EmbedSetupAgain EmbedSparse EmbedThreads EmbedTorch
        EmbedTwoModels Enlarge Entities FindSpeech Forecast ModelByUser OcrBatch OcrFiles OcrLines
        OcrPages OcrQuestion PaintSeeded RecommendFixed RerankBatch RerankDict RerankPairs
        RerankScaled RerankSorted ScoreDicts ScoreFrame ScoreFrames ScoreMissing ScoreModel
        ScoreRows ScoreVotes SegmentMask SegmentPoints SegmentRuns Sentiment SpeakBatch SpeakBytes
        SpeakItem SpeakNoise Summarize TranscribeArray TranscribeBatch TranscribeElapsed
        TranscribeOptions TranscribeUpload TranslateBatchContext TranslateContext TranslateGroups
        TranslateItem TranslateLabelOnSelf WithHour WithSeconds
    """,
    "wrong": """
        ChatIdInOutput ChatMemory ChatSampled ChatSessions ChatTemperatureInContext ClipExifOnSelf
        Counter DetectConfigOnSelf DetectResultOnSelf DetectTracks EmbedDropout EmbedFirstOptions
        EmbedForUser EmbedLearning EmbedNormalizeOnSelf EmbedShared EmbedUnmasked Faces
        ForecastFromNow ForecastStamped OcrChangingFiles OcrNewFile OcrResultFile OcrUrl
        PaintClockSeed PaintSizeOnSelf PaintSomeSeeded PaintUnseeded RandomModel ReadFeatures
        Recommend RerankDocumentsOnSelf RerankTopK ScoreOnline ScoreScaled Search
        SegmentImageOnSelf SpeakVoiceOnSelf SummarizeLongest TranscribeFirstLanguage
        TranscribeLanguageOnSelf TranscribeSamePath TranscribeToFile TranslateBatchOnSelf
        TranslateNumberedOnSelf TranslateOnModel TranslateOnSelf TranslateRarelyOnSelf WithUuid
        WriteFeatures
    """,
    "uncached": """
        ClipZeroShot DetectDataclasses DetectDrawn DetectModelOutput DetectResults PaintImage
        ScoreFrameOut SegmentImage SpeakFile TranscribeDataclasses TranscribeSegments
        TranscribeTemporary
    """,
    "refused": """
        ChatOpenAI ChatStream ChatStreamAsync ChatStreamSampled ChatTemperature ChatUsage
        SpeakStream
    """,
}
BEFORE = {name: outcome for outcome, names in _OUTCOMES.items() for name in names.split()}
"""The outcome of each service, by its class's name."""
