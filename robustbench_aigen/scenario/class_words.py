# ruff: noqa: SIM905  Lists of words read better as text than with a word a line.
"""The words of class names, in the languages of published data sets. English has the rules, the others only words."""

_ENGLISH_REAL = (
    "real reals authentic genuine bonafide legit legitimate unaltered unmanipulated untampered humanmade manmade "
    "humangenerated humancreated handmade"
)
_ENGLISH_FAKE = (
    "fake fakes faked fakery ai aigc aigen genai aigenerated aimade aicreated synthetic synthetics synth synthesis "
    "synthesized synthesised generated generative artificial manipulated forged forgery forgeries tampered counterfeit "
    "counterfeits fabricated spoof spoofs spoofed computergenerated computermade computergraphics machinegenerated "
    "machinemade notreal nonreal"
)
_OTHER_REAL = (
    "echt echte echter echten "  # German, Dutch
    "äkta ekte ægte aito aidot "  # Swedish, Norwegian, Danish, Finnish
    "réel réels réelle réelles vrai vrais vraie vraies authentique authentiques "  # French
    "reales auténtico auténtica auténticos auténticas verdadero verdadera verdaderos verdaderas "  # Spanish
    "reais autêntico autêntica autênticos autênticas verdadeiro verdadeira verdadeiros verdadeiras "  # Portuguese
    "reale reali vero vera veri autentico autentica autentici autentiche "  # Italian
    "настоящий настоящее настоящая настоящие реальный реальное реальная реальные подлинный подлинное подлинные "
    "справжні реальні "  # Russian, Ukrainian
    "gerçek gercek gerçekler "  # Turkish
    "asli nyata "  # Indonesian
    "thật thực "  # Vietnamese
    "prawdziwy prawdziwe prawdziwa skutečné valódi "  # Polish, Czech, Hungarian
    "πραγματικό πραγματικές אמיתי אמיתיות จริง "  # Greek, Hebrew, Thai
    "حقيقي حقيقية واقعی असली "  # Arabic, Persian, Hindi
    "真 真实 真實 真图 真人 真图像 真图片 真照片 实拍 非ai 非人工智能 "  # Chinese
    "本物 実写 実在 リアル 진짜 실제 실사 リアル画像"  # Japanese, Korean
)
_OTHER_FAKE = (
    "gefälscht gefälschte gefälschter fälschung fälschungen künstlich künstliche generiert generierte "
    "synthetisch synthetische ki kigeneriert nep namaak gegenereerd gegenereerde "  # German, Dutch
    "gefaelscht gefaelschte kuenstlich kuenstliche "  # German without umlauts
    "falsk falska falske väärennetty väärennetyt "  # Swedish, Norwegian, Danish, Finnish
    "faux fausse fausses généré générée générés générées ia synthétique synthétiques artificiel artificielle "
    "artificiels artificielles truqué truquée truqués falsifié falsifiés "  # French
    "generee generees synthetique synthetiques "  # French without accents
    "falso falsa falsos falsas generado generada generados generadas sintético sintética sintéticos sintéticas "
    "sintetico sintetica sinteticos artificiales falsificado falsificados "  # Spanish
    "gerado gerada gerados geradas artificiais "  # Portuguese
    "falsi finto finti generato generata generati generate sintetici artificiale artificiali "  # Italian
    "поддельный поддельное поддельные подделка подделки фейк фейки фейковые фальшивые сгенерированный "
    "сгенерированные синтетические искусственные ии підроблені "  # Russian, Ukrainian
    "sahte yapay yapayzeka yapayzekâ üretilmiş sentetik "  # Turkish
    "palsu buatan sintetis "  # Indonesian
    "giả "  # Vietnamese
    "fałszywy fałszywe sztuczny sztuczne wygenerowane falešné hamis "  # Polish, Czech, Hungarian
    "ψεύτικο ψεύτικες מזויף מזויפות ปลอม "  # Greek, Hebrew, Thai
    "مزيف مزيفة جعلی नकली "  # Arabic, Persian, Hindi
    "假 假图 假图像 假图片 虚假 偽造 伪造 生成 合成 ai生成 人工智能 人工智能生成 ai绘画 ai画 深度伪造 aigc "  # Chinese
    "偽物 偽 フェイク 人工知能 가짜 위조 합성 생성 인공지능 조작"  # Japanese, Korean
)
PLAIN = {
    **dict.fromkeys(f"{_ENGLISH_REAL} {_OTHER_REAL}".casefold().split(), 0),
    **dict.fromkeys(f"{_ENGLISH_FAKE} {_OTHER_FAKE}".casefold().split(), 1),
}
"""Words that name a class in any position."""
FAMILIES = frozenset({"gan", "gans", "diffusion"})
"""Words that name the fake class where nothing else does, and a kind of generators as well."""
WEAK = {
    **dict.fromkeys(
        "nature natural photo photos photograph photographs photography photographic human humans camera cameras "
        "original originals orig pristine live originale originali originales original originais оригинал оригиналы "
        "orijinal foto fotos фото natürlich naturel naturels naturelles naturales naturais naturale naturali "
        "原图 自然 照片 写真 実画像 원본".split(),
        0,
    ),
    **dict.fromkeys("deepfake deepfakes cgi дипфейк дипфейки 딥페이크 ディープフェイク".split(), 1),
    **dict.fromkeys(FAMILIES, 1),
}
"""Words that name a class where nothing else does, and elsewhere a generator, a kind of picture or of origin."""
NOT = frozenset({"not", "non", "no", "without", "非", "不"})
"""Words that turn the class word behind them into the other class."""
BETWEEN = frozenset(
    {"vs", "versus", "or", "and", "v", "und", "oder", "et", "ou", "y", "o", "e", "ve", "и", "与", "和"}
)
"""Words between the names of two classes: ``ai_vs_human`` is neither."""
NOUNS = (
    "image images img imgs picture pictures pic pics face faces photo photos data dataset datasets set sets art arts "
    "artwork artworks sample samples frame frames video videos bild bilder daten datensatz"
).split()
"""Words for pictures; also written in one word with a class or a split: ``fakefaces``, ``testimages``."""
BY = frozenset("by with of from using via par por von mit".split())
"""Words between a class and what made it: ``generated_by_flux``."""
TRUTHS = frozenset("true false positive negative pos neg yes".split())
"""Words that say whether another holds: beside a class word they may reverse its meaning, ``fake_false``."""
LINKING = BETWEEN | frozenset(
    "a an the of in by with de la le les el los las du des di del da por par l d von mit durch q qf k m".split()
)
"""Words that belong to others, as in ``généré par l'IA``, ``q90`` and ``10k``: alone they are names like any other."""
EMPTY = (
    frozenset(
        NOUNS
        + (
            "class classes label labels category folder folders dir file files sequence sequences media content made "
            "fold folds group part parts batch batches chunk chunks subset version type raw all whole complete combined full final new only mini "
            "small tiny large big hq lq hd px res jpg jpeg png webp crop crops cropped aligned resized public private clean "
            "copy copies kopie copie copia копия 副本 shard shards seed seeds processed preprocessed unprocessed quality "
            "january february march april may june july august september october november december "
            "portrait portraits celeb celebs celebrity youtube dfd dfdc target "
            "gesicht gesichter afbeelding afbeeldingen imagen imágenes imagenes imagem imagens immagine immagini visage visages "
            "изображение изображения görüntü görüntüler resim resimler gambar ảnh zdjęcia "
            "图片 图像 图 图集 绘图 绘画 作品 数据集 数据 集 样本 类 人脸 脸 的 画像 顔 データ 이미지 사진 얼굴 데이터 데이터셋 용 用 выборка набор данные"
        ).split()
    )
    | LINKING
    | TRUTHS
)
"""Words beside a class name that do not change its meaning."""
STRONG_SPLITS = {
    **dict.fromkeys("train training trainings trainval trn tr 训练 訓練 学習 학습 훈련".split(), "train"),
    **dict.fromkeys(
        "entrenamiento treino treinamento addestramento entraînement entrainement apprentissage träning trening".split(),
        "train",
    ),
    **dict.fromkeys(
        "обучение обучающая обучающие тренировочная eğitim egitim latihan pelatihan huấnluyện تدريب".split(),
        "train",
    ),
    **dict.fromkeys(
        "val valid validate validation validations vali vl dev devel development 验证 驗證 検証 검증".split(),
        "val",
    ),
    **dict.fromkeys(
        "validación validacion validação validacao validazione validierung validierungs validatie validering "
        "doğrulama валидация валидационная валидационные validasi".split(),
        "val",
    ),
    **dict.fromkeys("test tests testing tst holdout heldout 测试 測試 テスト 테스트".split(), "test"),
    **dict.fromkeys(
        "prueba pruebas teste testes prova essai essais тест тестовая тестовые uji pengujian kiểmthử اختبار".split(),
        "test",
    ),
}
"""Words that name a split in any position."""
WEAK_SPLITS = dict.fromkeys("eval evals evaluation va".split(), "val") | dict.fromkeys(
    "te ts".split(), "test"
)
"""Words that name a split beside another one. Beside a validation split ``eval`` is the test split."""
CATEGORIES = frozenset(
    "airplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor "  # CNNDetection's training set and ProGAN (Wang et al. 2020)
    "bedroom church apple orange zebra summer winter bridge kitchen "  # Its other generators and LSUN
    "automobile deer frog ship truck plane motorcycle elephant bear giraffe".split()  # CIFAR-10 and COCO
)
"""Kinds of photographs that folders are called after; one of them is a ``train``."""
GENERATORS = frozenset(
    "adm biggan glide midjourney mj vqdm wukong sd sdv sdxl ldm dalle imagen firefly flux pixart kandinsky deepfloyd "
    "ddpm ddim iddpm pndm progan proggan stylegan stargan cyclegan gaugan attgan sngan mmdgan infomaxgan cramergan "
    "relgan began vqgan esrgan dcgan wgan crn imle san sitd seeingdark whichfaceisreal guided palette gansformer "
    "ideogram recraft playground hunyuan cogview stablediffusion latentdiffusion guideddiffusion stablecascade "
    "realesrgan realsr realvis img2img txt2img text2img faceswap face2face neuraltextures faceshifter simswap deepfacelab hyperreenact nulltext".split()
)
"""Words of generators' names: they tell which level of folders is that of the generators."""
NO_SPLIT_BESIDE = frozenset(
    "station stations track tracks driver ride ticket tube pattern toy steam bullet model generator".split()
)
"""Words that make a ``train`` or ``test`` beside them a thing: ``train_station``."""
