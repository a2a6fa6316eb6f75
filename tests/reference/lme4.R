# What lme4, lmerTest, emmeans and car say of the tables in a folder; called by make_lme4.py: Rscript lme4.R FOLDER
# Every table is a CSV with the columns y, model, factor, dataset, query; cases.json says which of them are used.
suppressMessages({
  library(lme4); library(lmerTest); library(emmeans); library(car); library(jsonlite)
})
folder <- commandArgs(TRUE)[1]
emm_options(lmerTest.limit = 1e6, pbkrtest.limit = 0, lmer.df = "satterthwaite")
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, maxfun = 1e5),
                     check.nobs.vs.rankZ = "ignore", calc.derivs = FALSE)

pastes <- data.frame(y = Pastes$strength, model = "all", factor = "none", dataset = Pastes$batch, query = Pastes$cask)
oats <- nlme::Oats
oats <- data.frame(y = oats$yield, model = paste0("N", oats$nitro), factor = oats$Variety,
                   dataset = oats$Block, query = oats$Variety)
write.csv(pastes, file.path(folder, "pastes.csv"), row.names = FALSE)
write.csv(oats, file.path(folder, "oats.csv"), row.names = FALSE)

plain <- function(e, ...) {
  found <- as.data.frame(e)
  names(found) <- sub("lower.CL", "low", sub("upper.CL", "high", names(found), fixed = TRUE), fixed = TRUE)
  found[] <- lapply(found, function(v) if (is.factor(v)) as.character(v) else v)
  found
}

asked <- function(case) {
  rows <- read.csv(file.path(folder, paste0(case$table, ".csv")), stringsAsFactors = FALSE)
  for (name in c("model", "factor", "dataset", "query")) rows[[name]] <- factor(rows[[name]], unique(rows[[name]]))
  formula <- as.formula(case$formula)
  started <- proc.time()[["elapsed"]]
  fit <- lmer(formula, rows, REML = case$reml, control = tight)
  seconds <- proc.time()[["elapsed"]] - started
  variances <- as.data.frame(VarCorr(fit))
  out <- list(
    formula = case$formula, table = case$table, reml = case$reml, seconds = seconds,
    criterion = if (case$reml) REMLcrit(fit) else deviance(fit),
    groups = variances$grp, variances = variances$vcov,
    beta = unname(fixef(fit)), se = unname(sqrt(diag(as.matrix(vcov(fit)))))
  )
  modes <- as.data.frame(ranef(fit, condVar = TRUE))
  modes <- modes[modes$grpvar == "dataset", ]
  out$effects <- data.frame(dataset = as.character(modes$grp), effect = modes$condval, sd = modes$condsd)
  if (grepl("model", case$formula, fixed = TRUE)) {
    test <- as.data.frame(anova(fit, type = 3, ddf = "Satterthwaite"))
    out$anova <- data.frame(term = rownames(test), df1 = test$NumDF, df2 = test$DenDF, F = test$`F value`,
                            p = test$`Pr(>F)`)
    summed <- update(fit, contrasts = list(model = "contr.sum", factor = "contr.sum"))
    chi <- as.data.frame(car::Anova(summed, type = 3))
    out$car <- data.frame(term = rownames(chi), chisq = chi$Chisq)
    by_model <- emmeans(fit, ~ model)
    out$by_model <- plain(summary(by_model))
    out$by_factor <- plain(summary(emmeans(fit, ~ factor)))
    both <- emmeans(fit, ~ model * factor)
    out$by_both <- plain(summary(both))
    for (way in c("tukey", "holm", "bonferroni", "none"))
      out[[way]] <- plain(summary(pairs(by_model, adjust = way), infer = TRUE))
    out$within <- plain(summary(pairs(emmeans(fit, ~ model | factor), adjust = "tukey"), infer = TRUE))
    if (!is.null(case$tax)) {
      g <- as.data.frame(summary(both))[, c("model", "factor")]
      lead <- ifelse(g$model == case$tax$model, 1, ifelse(g$model == case$tax$against, -1, 0))
      weights <- list(home = lead * (g$factor == case$tax$home), abroad = lead * (g$factor == case$tax$abroad))
      weights$tax <- weights$home - weights$abroad
      out$tax <- plain(summary(contrast(both, weights, adjust = "none"), infer = TRUE))
    }
  }
  out
}

cases <- fromJSON(file.path(folder, "cases.json"), simplifyDataFrame = FALSE)
versions <- lapply(c("lme4", "lmerTest", "emmeans", "car", "nlme"), function(p) as.character(packageVersion(p)))
names(versions) <- c("lme4", "lmerTest", "emmeans", "car", "nlme")
result <- list(made_with = c(list(R = paste(R.version$major, R.version$minor, sep = ".")), versions),
               cases = lapply(cases, asked))
write_json(result, file.path(folder, "lme4.json"), digits = 12, auto_unbox = TRUE, na = "null", dataframe = "columns")
